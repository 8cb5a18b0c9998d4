//! One connection's clock: when it was last of use, and whether it has been idle or dawdling for too long.
//!
//! hyper's own timeout for headers sets a timer for every request and counts the pause between two requests as well.
//! Here a connection has one timer, which looks at marks that cost a request next to nothing.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

/// What is known of a connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Marks(Arc<Inner>);

struct Inner {
    opened: Instant,
    /// Milliseconds after `opened` at which the present state began, or the last byte was written.
    since_ms: AtomicU64,
    /// A request is being answered: however long that takes is the handler's business.
    answering: AtomicBool,
    /// Some of a request's head has come, but not all.
    in_head: AtomicBool,
}

impl Marks {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            opened: Instant::now(),
            since_ms: AtomicU64::new(0),
            answering: AtomicBool::new(false),
            in_head: AtomicBool::new(false),
        }))
    }

    fn touch(&self) {
        self.0.since_ms.store(self.0.opened.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// A request's head is whole.
    pub(crate) fn begin(&self) {
        self.0.answering.store(true, Ordering::Relaxed);
        self.0.in_head.store(false, Ordering::Relaxed);
    }

    /// Its answer is made.
    pub(crate) fn end(&self) {
        self.touch();
        self.0.answering.store(false, Ordering::Relaxed);
    }

    /// Waits until the connection has been idle for `idle`, or has taken longer than `head` to send a request's head.
    pub(crate) async fn expired(&self, head: Duration, idle: Duration) {
        loop {
            let limit = if self.0.in_head.load(Ordering::Relaxed) { head } else { idle };
            let since = self.0.opened + Duration::from_millis(self.0.since_ms.load(Ordering::Relaxed));
            if self.0.answering.load(Ordering::Relaxed) {
                tokio::time::sleep(idle).await;
            } else if since.elapsed() >= limit {
                return;
            } else {
                // A head may begin while we sleep; then its limit must be seen in time.
                tokio::time::sleep_until((since + limit).min(Instant::now() + head)).await;
            }
        }
    }
}

/// A socket that leaves its marks.
pub(crate) struct Marked {
    pub(crate) stream: TcpStream,
    pub(crate) marks: Marks,
}

impl AsyncRead for Marked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let inner = &self.marks.0;
        if buffer.filled().len() > before
            && !inner.answering.load(Ordering::Relaxed)
            && !inner.in_head.swap(true, Ordering::Relaxed)
        {
            self.marks.touch();
        }
        polled
    }
}

impl AsyncWrite for Marked {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            self.marks.touch();
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if polled.is_ready() {
            self.marks.touch();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(15);
    const IDLE: Duration = Duration::from_secs(120);

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_expires_and_an_answering_one_does_not() {
        let marks = Marks::new();
        let begun = Instant::now();
        marks.expired(HEAD, IDLE).await;
        assert_eq!(begun.elapsed().as_secs(), 120);

        marks.begin();
        assert!(tokio::time::timeout(IDLE * 10, marks.expired(HEAD, IDLE)).await.is_err());
        marks.end();
        let ended = Instant::now();
        marks.expired(HEAD, IDLE).await;
        assert!(ended.elapsed() >= IDLE && ended.elapsed() < IDLE * 2 + HEAD, "{:?}", ended.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_expires_soon() {
        let marks = Marks::new();
        tokio::time::advance(Duration::from_secs(60)).await;
        marks.0.in_head.store(true, Ordering::Relaxed);
        marks.touch();
        let begun = Instant::now();
        marks.expired(HEAD, IDLE).await;
        assert_eq!(begun.elapsed().as_secs(), 15);
    }
}
