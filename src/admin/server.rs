//! The server: where it listens, how much it takes on, and how it is stopped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::web::{Data, PayloadConfig};
use actix_web::{App, HttpServer};
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::ask::LONGEST_BODY;
use super::connections::Connections;
use super::history::History;
use super::{guard, map};
use crate::engine::handle::Handle;
use crate::plan::Admin;
use crate::telemetry::Metrics;

/// So many connections are served at once; others wait until one is closed.
const MOST_CONNECTIONS: usize = 256;
/// So many of them may be streams, so that there is room for the rest.
const MOST_STREAMS: usize = 64;
/// How long the head of a connection's first request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection is kept for another request.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long is waited for what an answered client still sends.
const LINGER: Duration = Duration::from_secs(2);

/// What all requests are answered from.
pub(super) struct State {
    pub(super) handle: Handle,
    pub(super) metrics: Arc<Metrics>,
    pub(super) history: Arc<History>,
    pub(super) token: Option<SecretString>,
    /// Whether it is protected by being reached from this machine alone.
    pub(super) is_local: bool,
    pub(super) streams: Arc<Semaphore>,
    /// Tells this process's events from another one's.
    pub(super) process: u32,
}

/// An API that is being served.
#[derive(Debug)]
pub struct Api {
    /// Where.
    pub address: SocketAddr,
    server: ServerHandle,
}

impl Api {
    /// Closes it at once, with all connections; nobody has to wait for what is returned.
    pub fn stop(&self) -> impl Future<Output = ()> + use<> {
        self.server.stop(false)
    }
}

/// Serves the API of an engine as the plan says; nothing where it says nothing. The error is the system's, as when the address is
/// taken. Must be called within an actix system; the API has a thread of its own.
pub fn start(admin: &Admin, handle: Handle, metrics: Arc<Metrics>) -> io::Result<Option<Api>> {
    let Some(listen) = admin.listen else { return Ok(None) };
    let history = History::kept(handle.board());
    let state = Data::new(State {
        handle,
        history,
        metrics,
        token: admin.token.clone(),
        is_local: admin.token.is_none() && listen.ip().is_loopback(),
        streams: Arc::new(Semaphore::new(MOST_STREAMS)),
        process: fastrand::u32(..),
    });
    let connections = Connections::watched();
    let app = move || {
        App::new()
            .app_data(state.clone())
            .app_data(PayloadConfig::new(LONGEST_BODY))
            .wrap(from_fn(guard::around))
            .configure(map::resources)
    };
    let server = HttpServer::new(app)
        .on_connect(move |io, data| connections.welcome(io, data))
        .workers(1)
        .worker_max_blocking_threads(2)
        .max_connections(MOST_CONNECTIONS)
        .client_request_timeout(HEAD)
        .keep_alive(KEEP_ALIVE)
        .client_disconnect_timeout(LINGER)
        // who listens to a stream has gone once their side is closed, and gives the seat back
        .h1_allow_half_closed(false)
        .disable_signals()
        .bind(listen)?;
    let address = server.addrs().first().copied().unwrap_or(listen);
    let server = server.run();
    let api = Api { address, server: server.handle() };
    actix_web::rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!("the API at {address} is gone: {error}");
        }
    });
    Ok(Some(api))
}
