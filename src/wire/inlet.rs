//! What a broker sends, taken from the socket field by field: so that each partition's records land in a buffer of their own, which
//! lives as long as somebody needs them and not as long as the answer that they came with.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What is read ahead of what was asked for, at the most.
const AHEAD: usize = 16 << 10;
/// No answer is larger: beyond this, what was read as its length is none.
const MOST: usize = 1 << 30;

/// The reading side of a connection.
#[derive(Debug)]
pub(super) struct Inlet<S> {
    socket: S,
    buffer: BytesMut,
    /// Bytes of the present answer that were not taken yet.
    left: usize,
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer ends too early")
}

impl<S: AsyncRead + Unpin> Inlet<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, buffer: BytesMut::with_capacity(AHEAD), left: 0 }
    }

    /// Waits for the next answer; says how long it is.
    pub(super) async fn begin(&mut self) -> io::Result<usize> {
        self.left = 4;
        let length = self.i32().await?;
        self.left = usize::try_from(length).ok().filter(|length| *length <= MOST).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("an answer says that it has {length} bytes"))
        })?;
        Ok(self.left)
    }

    /// The rest of the answer.
    pub(super) async fn rest(&mut self) -> io::Result<Bytes> {
        self.bytes(self.left).await
    }

    /// How much of the answer is left.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// So many bytes, in a buffer of their own.
    pub(super) async fn bytes(&mut self, count: usize) -> io::Result<Bytes> {
        self.left = self.left.checked_sub(count).ok_or_else(short)?;
        let mut bytes = BytesMut::with_capacity(count);
        let ahead = self.buffer.len().min(count);
        bytes.put(self.buffer.split_to(ahead));
        while bytes.len() < count {
            let missing = count - bytes.len();
            if self.socket.read_buf(&mut (&mut bytes).limit(missing)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(bytes.freeze())
    }

    /// Makes sure that so many bytes are in the buffer.
    async fn need(&mut self, count: usize) -> io::Result<()> {
        self.left = self.left.checked_sub(count).ok_or_else(short)?;
        while self.buffer.len() < count {
            self.buffer.reserve(AHEAD);
            if self.socket.read_buf(&mut (&mut self.buffer).limit(AHEAD)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    pub(super) async fn i8(&mut self) -> io::Result<i8> {
        self.need(1).await?;
        Ok(self.buffer.get_i8())
    }

    pub(super) async fn i16(&mut self) -> io::Result<i16> {
        self.need(2).await?;
        Ok(self.buffer.get_i16())
    }

    pub(super) async fn i32(&mut self) -> io::Result<i32> {
        self.need(4).await?;
        Ok(self.buffer.get_i32())
    }

    pub(super) async fn i64(&mut self) -> io::Result<i64> {
        self.need(8).await?;
        Ok(self.buffer.get_i64())
    }

    /// A number of few bytes where it is small.
    pub(super) async fn varint(&mut self) -> io::Result<u32> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.i8().await?.cast_unsigned();
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| short());
            }
        }
        Err(short())
    }

    /// Text.
    pub(super) async fn text(&mut self, bytes: usize) -> io::Result<String> {
        if bytes > AHEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a name of {bytes} bytes")));
        }
        self.need(bytes).await?;
        let text = self.buffer.split_to(bytes);
        String::from_utf8(text.to_vec())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a name that is no text"))
    }

    /// Passes over so many bytes.
    pub(super) async fn skip(&mut self, count: usize) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            let step = left.min(AHEAD);
            self.need(step).await?;
            self.buffer.advance(step);
            left -= step;
        }
        Ok(())
    }
}
