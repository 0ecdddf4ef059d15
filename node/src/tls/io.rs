//! A connection with what is known of its other end, and what is held as long as it is open.

use crate::tls::connections::{Entry, Place};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use vermilion_identity::Certificate;

/// How long a connection without a certificate may say nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate, judged when it connected; none where none was needed.
    pub certificate: Option<Arc<Certificate>>,
}

/// A connection that was made here or by others.
pub struct Io<S> {
    stream: S,
    caller: Caller,
    /// Of a stranger: when it has been silent for too long.
    idle: Option<Idle>,
    // Dropped with the connection.
    _entry: Option<Entry>,
    _place: Option<Place>,
}

impl<S> Io<S> {
    /// With who showed no certificate: not for ever, if it says nothing.
    pub(super) fn of_stranger(stream: S, address: SocketAddr, place: Place) -> Self {
        Self { stream, caller: Caller { address, certificate: None }, idle: Some(Idle::new()), _entry: None, _place: Some(place) }
    }

    /// With who is known.
    pub(super) fn of_known(stream: S, caller: Caller, entry: Option<Entry>, mut place: Option<Place>) -> Self {
        if let Some(place) = &mut place {
            place.is_known();
        }
        Self { stream, caller, idle: None, _entry: entry, _place: place }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// Ends a stranger's connection on which nothing comes.
struct Idle(Pin<Box<tokio::time::Sleep>>);

impl Idle {
    fn new() -> Self {
        Self(Box::pin(tokio::time::sleep(SILENCE)))
    }

    fn begin_anew(&mut self) {
        self.0.as_mut().reset(tokio::time::Instant::now() + SILENCE);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        match (&mut self.idle, &read) {
            (None, _) => read,
            (Some(idle), Poll::Ready(_)) => {
                idle.begin_anew();
                read
            }
            (Some(idle), Poll::Pending) => idle.0.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
