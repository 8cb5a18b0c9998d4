//! The HTTP port: accepts connections within their limit, serves requests, and drains on stop.
//!
//! HTTP/1.1 alone, as Nacos' Tomcat. Each connection has a task; the limit on connections is a semaphore, and whoever
//! comes beyond it waits in the system's queue.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Body;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nacos_core::{settings::HttpSettings, web::Dispatcher};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::Instant,
};

use crate::connection::{Marked, Marks};

/// On a stop, a connection on which nothing moves for this long is closed.
const STOP_IDLE: Duration = Duration::from_millis(500);
/// hyper's own number of headers, which costs nothing to keep.
const HEADERS_DEFAULT: usize = 100;
/// A request's head may have this many bytes. Nacos' Tomcat allows 8 KiB, which a publish by query outgrows.
const HEAD_MAX: usize = 64 * 1024;
/// After an error of `accept` (no free descriptors, say) the next try waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` turns true; then answers what was asked, at most for `drain`, and returns.
pub(crate) async fn serve(
    listener: TcpListener,
    dispatcher: Dispatcher,
    settings: HttpSettings,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_MAX);
    if settings.max_headers != HEADERS_DEFAULT {
        http.max_headers(settings.max_headers);
    }
    let places = Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => { log_panic(ended); continue }
            place = places.clone().acquire_owned() => match place {
                Ok(place) => place,
                Err(_) => break,
            },
        };
        let (stream, peer) = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        // Answers are small and written whole: waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let dispatcher = dispatcher.clone();
        let marks = Marks::new();
        let marked = Marked { stream, marks: marks.clone() };
        let answering = marks.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let marks = answering.clone();
            marks.begin();
            let answer = dispatcher.clone().dispatch_from(request.map(Body::new), peer);
            async move {
                let answer = answer.await;
                marks.end();
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http.serve_connection(TokioIo::new(marked), service);
        let (head_max, idle_max) = (settings.header_timeout, settings.idle_timeout);
        let mut stop = stop.clone();
        connections.spawn(async move {
            let _place = place;
            let mut connection = std::pin::pin!(connection);
            let result = tokio::select! {
                result = connection.as_mut() => result,
                // Nothing is being answered: the connection is simply closed.
                () = marks.expired(head_max, idle_max) => return,
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    // What is being answered is waited for; a request of which half has come is not.
                    tokio::select! {
                        result = connection.as_mut() => result,
                        () = marks.expired(STOP_IDLE, STOP_IDLE) => return,
                    }
                }
            };
            // A client that leaves or sends nonsense is no event for the operator.
            if let Err(error) = result {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
    drop(listener);
    let deadline = Instant::now() + drain;
    while !connections.is_empty() {
        match tokio::time::timeout_at(deadline, connections.join_next()).await {
            Ok(Some(ended)) => log_panic(ended),
            Ok(None) => break,
            Err(_) => {
                tracing::warn!(connections = connections.len(), "requests were cut off by the stop");
                connections.shutdown().await;
            }
        }
    }
}

/// Waits for the stop. The value that it leaves locks the channel, so it must not outlive this.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could stop us is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

/// Binds the port, with an address that a server just stopped may have left in use.
pub(crate) fn bind(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(4096)
}
