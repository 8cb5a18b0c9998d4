//! A way to a server on loopback that can be cut, closed, blocked, or cut in the midst of a `COMMIT`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// `COMMIT` in a message of the simple protocol: its letter, its length, its text.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// When a connection is cut that commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never reads of it.
    Before,
    /// The server has done it and answered; the client does not read the answer.
    After,
}

/// What the connections are told.
#[derive(Debug, Clone, Default)]
struct Wish {
    /// Grows when all that are there are to be cut.
    generation: usize,
    /// Nothing is forwarded.
    blocked: bool,
    cut: Option<Cut>,
}

/// The proxy. All ends when it is dropped.
pub(crate) struct Proxy {
    port: u16,
    wish: watch::Sender<Wish>,
    open: mpsc::Sender<(bool, oneshot::Sender<()>)>,
    made: Arc<AtomicUsize>,
    commits: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// One that forwards to `server`.
    pub(crate) async fn new(server: SocketAddr) -> Self {
        let mut socket = Some(bound(0));
        let port = socket.as_ref().unwrap().local_addr().unwrap().port();
        let wish = watch::Sender::new(Wish::default());
        let (made, commits) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (open, mut opens) = mpsc::channel::<(bool, oneshot::Sender<()>)>(1);
        let task = tokio::spawn({
            let (wish, made) = (wish.clone(), Arc::clone(&made));
            let commits = Arc::clone(&commits);
            async move {
                let mut listener = None;
                // Bound and not listening, the port stays ours, and whoever connects is refused.
                loop {
                    let accepted = async {
                        match &listener {
                            Some(listener) => tokio::net::TcpListener::accept(listener).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        accepted = accepted => {
                            let (client, _) = accepted.unwrap();
                            made.fetch_add(1, Ordering::SeqCst);
                            tokio::spawn(forward(client, server, wish.subscribe(), commits.clone()));
                        }
                        asked = opens.recv() => {
                            let Some((open, done)) = asked else { return };
                            if open && listener.is_none() {
                                listener = Some(socket.take().unwrap().listen(128).unwrap());
                            } else if !open && listener.take().is_some() {
                                socket = Some(bound(port));
                            }
                            let _ = done.send(());
                        }
                    }
                }
            }
        });
        let proxy = Self { port, wish, open, made, commits, task };
        proxy.accept().await;
        proxy
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Connections that were made so far.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// Connections that were cut at a `COMMIT` so far.
    pub(crate) fn commits_cut(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    async fn set_open(&self, open: bool) {
        let (done, is_done) = oneshot::channel();
        self.open.send((open, done)).await.unwrap();
        is_done.await.unwrap();
    }

    /// Takes connections (again).
    pub(crate) async fn accept(&self) {
        self.set_open(true).await;
    }

    /// Refuses new connections; those that are there live on.
    pub(crate) async fn refuse_new(&self) {
        self.set_open(false).await;
    }

    /// Cuts all connections, and refuses new ones.
    pub(crate) async fn refuse(&self) {
        self.refuse_new().await;
        self.cut();
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        self.wish.send_modify(|wish| wish.generation += 1);
    }

    /// Takes connections and bytes, and forwards nothing; or does so again.
    pub(crate) fn block(&self, blocked: bool) {
        self.wish.send_modify(|wish| wish.blocked = blocked);
    }

    /// Cuts each connection that commits from now on; `None`: no more.
    pub(crate) fn cut_at_commit(&self, cut: Option<Cut>) {
        self.wish.send_modify(|wish| wish.cut = cut);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

fn bound(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, port).into()).unwrap();
    socket
}

/// Forwards until either side ends or the connection is to be cut. Errors are ends.
async fn forward(client: TcpStream, server: SocketAddr, mut wish: watch::Receiver<Wish>, commits: Arc<AtomicUsize>) {
    let generation = wish.borrow_and_update().generation;
    let mut wish_of_flow = wish.clone();
    let flow = async move {
        let _ = wish_of_flow.wait_for(|wish| !wish.blocked).await;
        let Ok(server) = TcpStream::connect(server).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let committing = AtomicUsize::new(0);
        let up = async {
            let mut wish = wish_of_flow.clone();
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                let _ = wish.wait_for(|wish| !wish.blocked).await;
                if buffer[..length].windows(COMMIT.len()).any(|window| window == COMMIT) {
                    match wish.borrow().cut {
                        Some(Cut::Before) => {
                            commits.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                        Some(Cut::After) => committing.store(1, Ordering::SeqCst),
                        None => {}
                    }
                }
                if to_server.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        };
        let down = async {
            let mut wish = wish_of_flow.clone();
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                let _ = wish.wait_for(|wish| !wish.blocked).await;
                // The server has nothing else to say on this connection but what it makes of the commit.
                if committing.load(Ordering::SeqCst) == 1 {
                    commits.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if to_client.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    };
    tokio::select! {
        () = flow => {}
        _ = wish.wait_for(|wish| wish.generation != generation) => {}
    }
}
