//! Pushes over real loopback sockets. Where the clock is paused, time passes whenever nobody has anything to do.

use nacos_core::key::ServiceKey;
use tokio::time::timeout;

use super::{packet::tests::decode, *};

struct World {
    pusher: UdpPusher,
    stats: Arc<PushStats>,
    metrics: Metrics,
}

fn world(settings: UdpSettings) -> World {
    let (stats, metrics) = (Arc::new(PushStats::new()), Metrics::new());
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    World { pusher: UdpPusher::start(bind, settings, stats.clone(), &metrics).unwrap(), stats, metrics }
}

impl World {
    fn packet(&self, name: &str, json: &str) -> Arc<Packet> {
        let service = ServiceKey::new("public", "g", name);
        self.pusher.packet(&List { service: &service, clusters: "", json, empty: false, since: Instant::now() })
    }

    /// Waits until so many pushes have succeeded and failed.
    async fn ended(&self, succeed: i64, failed: i64) {
        let ended = async {
            loop {
                let state = self.stats.state(false, false);
                if (state.succeed, state.total - state.succeed) == (succeed, failed) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let state = || self.stats.state(true, false);
        timeout(Duration::from_secs(60), ended).await.unwrap_or_else(|_| panic!("{:?}", state()));
    }

    /// Waits until the metrics have this line.
    async fn counts(&self, line: &str) {
        let counted = async {
            while !self.metrics.render().lines().any(|one| one == line) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), counted).await.unwrap_or_else(|_| panic!("no line {line}"));
    }
}

/// A 1.x client's socket.
struct Client(UdpSocket);

impl Client {
    async fn new() -> Self {
        Self(UdpSocket::bind("127.0.0.1:0").await.unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Receives a datagram: its list, its number, and who sent it.
    async fn receive(&self) -> (String, u64, SocketAddr) {
        let mut buffer = vec![0; 64 * 1024];
        let (len, from) = self.0.recv_from(&mut buffer).await.unwrap();
        let (kind, json, number) = decode(&buffer[..len]);
        assert_eq!(kind, "dom");
        (json, number, from)
    }

    async fn answer(&self, number: u64, to: SocketAddr) {
        // As the Java client writes it.
        let text = format!("{{\"type\": \"push-ack\", \"lastRefTime\":\"{number}\", \"data\":\"\"}}");
        self.0.send_to(text.as_bytes(), to).await.unwrap();
    }
}

#[tokio::test]
async fn an_answered_push_has_succeeded() {
    let world = world(UdpSettings::default());
    let client = Client::new().await;
    for (round, json) in ["{}".to_owned(), format!("{{\"hosts\":\"{}\"}}", "x".repeat(5000))].into_iter().enumerate() {
        world.pusher.push(client.address(), world.packet("s", &json));
        let (received, number, from) = client.receive().await;
        assert_eq!((received, from), (json, world.pusher.local_addr()));
        assert_eq!(world.pusher.waiting(), 1);
        client.answer(number, from).await;
        world.ended(round as i64 + 1, 0).await;
    }
    assert_eq!(world.pusher.waiting(), 0);
    world.counts("nacos_monitor{module=\"naming\",name=\"udpPushWaiting\"} 0").await;
}

#[tokio::test]
async fn one_datagram_goes_to_many() {
    let world = world(UdpSettings::default());
    let packet = world.packet("s", "{}");
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::new().await);
        world.pusher.push(clients.last().unwrap().address(), packet.clone());
    }
    for client in &clients[..4] {
        let (_, number, from) = client.receive().await;
        assert_eq!(number, packet.number());
        client.answer(number, from).await;
    }
    world.ended(4, 0).await;
    // Nobody can answer for the fifth.
    clients[0].answer(packet.number(), world.pusher.local_addr()).await;
    world.counts("nacos_naming_udp_acks_ignored_total{reason=\"unknown\"} 1").await;
    assert_eq!(world.pusher.waiting(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_it_is_sent_twice_and_has_failed() {
    let world = world(UdpSettings::default());
    let client = Client::new().await;
    let began = Instant::now();
    world.pusher.push(client.address(), world.packet("s", "{}"));
    let first = client.receive().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(client.receive().await, first);
    assert_eq!(began.elapsed().as_secs(), 10);
    world.ended(0, 1).await;
    assert_eq!(began.elapsed().as_secs(), 20);
    // An answer that late is none.
    client.answer(first.1, first.2).await;
    assert!(timeout(Duration::from_secs(60), client.receive()).await.is_err());
    world.ended(0, 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_second_may_be_answered() {
    let world = world(UdpSettings::default());
    let client = Client::new().await;
    world.pusher.push(client.address(), world.packet("s", "{}"));
    client.receive().await;
    let (_, number, from) = client.receive().await;
    client.answer(number, from).await;
    world.ended(1, 0).await;
    let detail = world.stats.state(true, false).detail.unwrap();
    assert!((10_000..10_100).contains(&detail.max_push_cost), "{detail:?}");
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_pause_has_its_second_chance_too() {
    let world = world(UdpSettings::default());
    let client = Client::new().await;
    for round in 0..3 {
        world.pusher.push(client.address(), world.packet("s", "{}"));
        let first = client.receive().await;
        let second = timeout(Duration::from_secs(11), client.receive()).await;
        assert_eq!(second.as_ref().ok(), Some(&first), "round {round}");
        client.answer(first.1, first.2).await;
        world.ended(round + 1, 0).await;
        sleep(Duration::from_secs(30)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_list_never_follows_a_new_one() {
    let world = world(UdpSettings::default());
    let client = Client::new().await;
    world.pusher.push(client.address(), world.packet("s", "old"));
    assert_eq!(client.receive().await.0, "old");
    world.pusher.push(client.address(), world.packet("s", "new"));
    let (json, number, from) = client.receive().await;
    assert_eq!(json, "new");
    client.answer(number, from).await;
    assert!(timeout(Duration::from_secs(60), client.receive()).await.is_err());
    world.ended(1, 1).await;
}

#[tokio::test]
async fn what_is_no_answer_harms_nothing() {
    let world = world(UdpSettings::default());
    let (client, stranger) = (Client::new().await, Client::new().await);
    // A port that is closed makes some systems tell the socket so.
    let closed = Client::new().await.address();
    world.pusher.push(closed, world.packet("closed", "{}"));
    let junk: [&[u8]; 5] = [b"", b"{", b"\xff\xfe", b"{\"lastRefTime\":[]}", &[b'x'; 20_000]];
    for bytes in junk {
        stranger.0.send_to(bytes, world.pusher.local_addr()).await.unwrap();
    }
    world.counts("nacos_naming_udp_acks_ignored_total{reason=\"malformed\"} 5").await;
    world.pusher.push(client.address(), world.packet("s", "{}"));
    let (_, number, from) = client.receive().await;
    client.answer(number, from).await;
    world.ended(1, 0).await;
}

/// A text that does not compress.
fn noise(len: usize) -> String {
    let mut random = fastrand::Rng::with_seed(7);
    (0..len).map(|_| random.alphanumeric()).collect()
}

#[tokio::test]
async fn what_is_too_long_is_not_sent() {
    let world = world(UdpSettings::default());
    let client = Client::new().await;
    let long = noise(100_000);
    assert!(world.packet("s", &long).payload().len() > PAYLOAD_MAX);
    for _ in 0..3 {
        world.pusher.push(client.address(), world.packet("s", &long));
    }
    world.ended(0, 3).await;
    assert_eq!((world.pusher.waiting(), world.pusher.shared.told.lock().len()), (0, 1));
    world.counts("nacos_naming_udp_dropped_total{reason=\"too_long\"} 3").await;
    // What just fits arrives.
    let fits = noise(80_000);
    let packet = world.packet("s", &fits);
    assert!((55_000..PAYLOAD_MAX).contains(&packet.payload().len()), "{}", packet.payload().len());
    world.pusher.push(client.address(), packet);
    assert_eq!(client.receive().await.0, fits);
}

#[tokio::test]
async fn some_addresses_are_not_pushed_to() {
    let world = world(UdpSettings::default());
    let bad =
        ["169.254.169.254:80", "224.0.0.1:5353", "255.255.255.255:9", "[ff02::1]:5353", "0.0.0.0:9", "127.0.0.1:0"];
    for address in bad {
        world.pusher.push(address.parse().unwrap(), world.packet("s", "{}"));
    }
    world.ended(0, 6).await;
    assert_eq!(world.pusher.waiting(), 0);
    world.counts("nacos_naming_udp_dropped_total{reason=\"forbidden\"} 6").await;
}

#[tokio::test]
async fn when_too_many_wait_the_oldest_is_given_up() {
    let world = world(UdpSettings { waiting_max: 10, ..UdpSettings::default() });
    let client = Client::new().await;
    for number in 0..25 {
        world.pusher.push(client.address(), world.packet(&number.to_string(), "{}"));
    }
    world.ended(0, 15).await;
    assert_eq!(world.pusher.waiting(), 10);
    world.counts("nacos_naming_udp_dropped_total{reason=\"full\"} 15").await;
    // The young ones arrive: those that were sent at all.
    let mut last = 0;
    for _ in 0..10 {
        let (_, number, from) = client.receive().await;
        client.answer(number, from).await;
        last = number;
    }
    world.ended(10, 15).await;
    assert_eq!(last + 1, world.packet("next", "{}").number());
}

#[tokio::test]
async fn thousands_arrive() {
    let world = world(UdpSettings::default());
    let client = Arc::new(Client::new().await);
    let address = client.address();
    let answering = tokio::spawn(async move {
        loop {
            let (_, number, from) = client.receive().await;
            client.answer(number, from).await;
        }
    });
    for round in 1..=50 {
        for number in 0..100 {
            world.pusher.push(address, world.packet(&number.to_string(), "{}"));
        }
        // The system's own buffers are small: a burst of thousands would lose some.
        world.ended(round * 100, 0).await;
    }
    assert_eq!(world.pusher.waiting(), 0);
    answering.abort();
}

#[tokio::test]
async fn an_ipv6_socket_reaches_ipv4_clients() {
    let (stats, metrics) = (Arc::new(PushStats::new()), Metrics::new());
    let bind = "[::]:0".parse().unwrap();
    let Ok(pusher) = UdpPusher::start(bind, UdpSettings::default(), stats.clone(), &metrics) else {
        return; // no IPv6 here
    };
    let world = World { pusher, stats, metrics };
    let client = Client::new().await;
    world.pusher.push(client.address(), world.packet("s", "{}"));
    let (_, number, from) = client.receive().await;
    client.answer(number, from).await;
    world.ended(1, 0).await;
}

#[tokio::test]
async fn numbers_count_up_and_fit_into_a_float() {
    let world = world(UdpSettings::default());
    let [first, second] = [(); 2].map(|()| world.packet("s", "{}").number());
    assert_eq!(first + 1, second);
    assert!(second < 1 << 53);
    assert_eq!(second as f64 as u64, second);
}
