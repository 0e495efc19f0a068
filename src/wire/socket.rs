//! A socket to a broker, encrypted or not.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long it may take to be connected.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an address may take after which there is another one of the same name.
const ONE_OF_SEVERAL: Duration = Duration::from_secs(2);

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why there is no socket.
#[derive(Debug)]
pub(super) enum Unconnected {
    /// Nobody answers there.
    Unreachable(io::Error),
    /// Who answers can't be spoken to in private.
    Insecure(io::Error),
}

impl Socket {
    /// Connects to `address`, a `host:port`.
    pub(super) async fn connect(address: &str, tls: Option<&TlsConnector>) -> Result<Self, Unconnected> {
        let plain = reach(address).await.map_err(Unconnected::Unreachable)?;
        plain.set_nodelay(true).map_err(Unconnected::Unreachable)?;
        // what was not sent when it is closed is not sent any more
        plain.set_zero_linger().map_err(Unconnected::Unreachable)?;
        let Some(tls) = tls else { return Ok(Self::Plain(plain)) };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| Unconnected::Insecure(io::Error::other(error)))?;
        let encrypted = tokio::time::timeout(PATIENCE, tls.connect(name, plain)).await.map_err(|_| late());
        encrypted.flatten().map(|encrypted| Self::Tls(Box::new(encrypted))).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Unconnected::Insecure(error),
            // a broker that is ending, or hangs, says nothing of certificates
            _ => Unconnected::Unreachable(error),
        })
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

/// Tries all addresses that a name has.
async fn reach(address: &str) -> io::Result<TcpStream> {
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(address)).await.map_err(|_| late())??;
    let mut found = found.peekable();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    while let Some(one) = found.next() {
        let patience = if found.peek().is_some() { ONE_OF_SEVERAL } else { PATIENCE };
        match tokio::time::timeout(patience, TcpStream::connect(one)).await.map_err(|_| late()).flatten() {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
