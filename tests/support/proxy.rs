//! A TCP proxy before a broker, which hurts connections and rewrites nothing.
//!
//! Whatever it is told holds for connections that are there and for those that come. It sees bytes and no packets, so what it
//! holds back looks as to a peer that the network keeps from its acknowledgements: sends go through until the buffers are full.
#![allow(dead_code, reason = "each of the tests that share this uses a part of it")]

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// One thread for all proxies: they only pass bytes on.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("proxies").enable_all().build().unwrap()
});

/// The most that is read at once, and so what a bandwidth is parted into.
const CHUNK: usize = 64 << 10;
/// The most that is on its way in one direction of a connection: 100 ms at 160 MB/s.
const ON_ITS_WAY: usize = 256;

/// What a direction's bytes meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairment {
    /// How much later each byte arrives.
    pub latency: Duration,
    /// Bytes per second of each connection; unlimited when `None`.
    pub bandwidth: Option<u64>,
    pub blackhole: Option<Blackhole>,
}

/// How bytes get nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blackhole {
    /// They arrive when it is over, as those do that TCP sends again.
    Holds,
    /// They are gone. A connection that lost some is reset when it is over, as by a middlebox that has forgotten it.
    Swallows,
}

/// What a broker's connections meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// From the client to the broker.
    pub up: Impairment,
    /// From the broker to the client.
    pub down: Impairment,
    /// Whether new connections are reset as soon as they are made.
    pub refuses: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    weather: Weather,
    /// Each reset ends the connections that were made before it.
    resets: u64,
}

/// A proxy.
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
}

impl Proxy {
    /// Listens on a port, and passes on to a broker's.
    pub fn start(port: u16, broker: u16) -> io::Result<Self> {
        let (state, seen) = watch::channel(State::default());
        let listener = RUNTIME.block_on(TcpListener::bind(("127.0.0.1", port)))?;
        RUNTIME.spawn(accept(listener, broker, seen));
        Ok(Self { port, state })
    }

    /// Where clients find it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What connections meet from now on.
    pub fn set(&self, weather: Weather) {
        self.state.send_modify(|state| state.weather = weather);
    }

    /// Nothing bad any more.
    pub fn clear(&self) {
        self.set(Weather::default());
    }

    /// Resets all connections that there are.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }
}

impl Weather {
    /// So much time for a way there and back.
    pub fn round_trip(time: Duration) -> Self {
        let half = Impairment { latency: time / 2, ..Impairment::default() };
        Self { up: half, down: half, ..Self::default() }
    }
}

async fn accept(listener: TcpListener, broker: u16, seen: watch::Receiver<State>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(serve(client, broker, seen.clone()));
    }
}

async fn serve(mut client: TcpStream, broker: u16, mut seen: watch::Receiver<State>) {
    let State { weather, resets } = *seen.borrow();
    let connected = TcpStream::connect(("127.0.0.1", broker)).await;
    let (false, Ok(mut broker)) = (weather.refuses, connected) else {
        client.set_zero_linger().ok();
        return;
    };
    for stream in [&client, &broker] {
        stream.set_nodelay(true).ok();
    }
    let passed = {
        let (from_client, to_client) = client.split();
        let (from_broker, to_broker) = broker.split();
        let up = Direction { seen: seen.clone(), side: |weather| weather.up };
        let down = Direction { seen: seen.clone(), side: |weather| weather.down };
        tokio::select! {
            passed = async { tokio::try_join!(up.pass(from_client, to_broker), down.pass(from_broker, to_client)) } => passed,
            _ = until(&mut seen, |state| state.resets > resets) => Err(gone()),
        }
    };
    if passed.is_err() {
        // closing them is a reset then
        for stream in [&client, &broker] {
            stream.set_zero_linger().ok();
        }
    }
}

/// One direction of a connection.
struct Direction {
    seen: watch::Receiver<State>,
    side: fn(Weather) -> Impairment,
}

impl Direction {
    async fn pass(mut self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel(ON_ITS_WAY);
        let seen = self.seen.clone();
        let side = self.side;
        tokio::try_join!(take(from, sender, move || side(seen.borrow().weather).latency), self.bring(receiver, to))?;
        Ok(())
    }

    fn impairment(&self) -> Impairment {
        (self.side)(self.seen.borrow().weather)
    }

    /// Writes what is due, and closes this direction after the last of it.
    async fn bring(&mut self, mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut free = Instant::now();
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                self.until_let_through(&mut chunks).await?;
                let Some(bandwidth) = self.impairment().bandwidth else {
                    to.write_all(rest).await?;
                    break;
                };
                let part = rest.len().min(usize::try_from(bandwidth / 50).unwrap_or(usize::MAX).max(1));
                to.write_all(&rest[..part]).await?;
                rest = &rest[part..];
                free = free.max(Instant::now())
                    + Duration::from_secs(part as u64) / u32::try_from(bandwidth).unwrap_or(u32::MAX);
                sleep_until(free).await;
            }
        }
        self.until_let_through(&mut chunks).await?;
        to.shutdown().await
    }

    /// Waits while bytes are held back. Where they are swallowed instead, all that come until that is over are, and then the
    /// connection fails.
    async fn until_let_through(&mut self, chunks: &mut mpsc::Receiver<(Instant, Vec<u8>)>) -> io::Result<()> {
        let blackhole = self.impairment().blackhole;
        if blackhole.is_none() {
            return Ok(());
        }
        let side = self.side;
        let over = until(&mut self.seen, move |state| side(state.weather).blackhole.is_none());
        if blackhole == Some(Blackhole::Holds) {
            return over.await;
        }
        let swallow = async {
            while chunks.recv().await.is_some() {}
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = over => {}
            () = swallow => {}
        }
        Err(gone())
    }
}

async fn until(seen: &mut watch::Receiver<State>, condition: impl FnMut(&State) -> bool) -> io::Result<()> {
    seen.wait_for(condition).await.map(drop).map_err(|_| gone())
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// Reads all that comes, and notes when it is due on the other side.
async fn take(
    mut from: ReadHalf<'_>,
    chunks: mpsc::Sender<(Instant, Vec<u8>)>,
    latency: impl Fn() -> Duration,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 || chunks.send((Instant::now() + latency(), buffer[..length].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}
