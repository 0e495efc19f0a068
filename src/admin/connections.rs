//! Connections, and how long one may be there for nothing.
//!
//! The HTTP library gives the head of a connection's first request a time, and that of no later one; and it waits without end for
//! somebody who does not read. Few such connections are as many as the server takes, so each is watched from here.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use actix_web::dev::Extensions;
use tokio::time::{MissedTickBehavior, interval};

use crate::engine::clock::now;

/// How long nothing may be asked or answered over a connection. A stream's heartbeats come more often.
const SILENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_secs(1);

/// A connection that is watched.
pub(super) struct Connection {
    /// When something was asked or answered last, in milliseconds of the engine's clock.
    last: AtomicU64,
    socket: TcpStream,
}

impl Connection {
    /// Something was asked or answered.
    pub(super) fn touch(&self) {
        self.last.store(millis(), Relaxed);
    }

    fn is_silent(&self) -> bool {
        millis().saturating_sub(self.last.load(Relaxed)) > u64::try_from(SILENCE.as_millis()).unwrap_or(u64::MAX)
    }
}

fn millis() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}

/// The connections of a server.
#[derive(Default)]
pub(super) struct Connections(Mutex<Vec<Weak<Connection>>>);

impl Connections {
    /// None yet; those to come are watched as long as somebody has what is returned. Within an actix system.
    pub(super) fn watched() -> Arc<Self> {
        let connections = Arc::new(Self::default());
        let watched = Arc::downgrade(&connections);
        actix_web::rt::spawn(async move {
            let mut looks = interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while let Some(connections) = watched.upgrade() {
                connections.cut();
                drop(connections);
                looks.tick().await;
            }
        });
        connections
    }

    /// Takes a new connection on; what is asked over it finds it among its own data.
    pub(super) fn welcome(&self, io: &dyn Any, data: &mut Extensions) {
        let Some(io) = io.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
        // a second handle of the same socket, which goes with the connection
        let Ok(socket) = io.as_fd().try_clone_to_owned() else { return };
        let connection = Arc::new(Connection { last: AtomicU64::new(millis()), socket: socket.into() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&connection));
        data.insert(connection);
    }

    fn cut(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            let silent = connection.is_silent();
            if silent {
                // whoever is at the other end may be gone already
                let _ = connection.socket.shutdown(Shutdown::Both);
            }
            !silent
        });
    }
}
