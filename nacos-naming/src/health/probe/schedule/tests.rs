//! The scheduler with a made-up source and made-up probes, on a paused clock; and once with real ones.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nacos_core::key::ServiceKey;
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{advance, sleep, timeout},
};

use super::*;
use crate::health::probe::ProbeParams;

fn id(number: usize) -> ProbeId {
    ProbeId { service: ServiceKey::new("public", "g", "s"), client: format!("10.0.0.1:{number}#false").into() }
}

/// Instances with their health, in memory.
struct Registry {
    instances: Mutex<HashMap<ProbeId, (ProbeTarget, bool)>>,
    params: Mutex<ProbeParams>,
    responsible: AtomicBool,
    /// Whether a report comes about.
    writable: AtomicBool,
    reports: mpsc::Sender<(ProbeId, bool)>,
}

impl Registry {
    fn new() -> (Arc<Self>, mpsc::Receiver<(ProbeId, bool)>) {
        let (reports, received) = mpsc::channel(100_000);
        let registry = Self {
            instances: Mutex::default(),
            params: Mutex::new(ProbeParams::default()),
            responsible: AtomicBool::new(true),
            writable: AtomicBool::new(true),
            reports,
        };
        (Arc::new(registry), received)
    }

    fn put(&self, number: usize, checker: Checker) -> ProbeId {
        let target = ProbeTarget { ip: "10.0.0.1".into(), port: number as u16, checker };
        self.instances.lock().insert(id(number), (target, true));
        id(number)
    }
}

impl ProbeSource for Registry {
    fn target(&self, id: &ProbeId) -> Option<ProbeTarget> {
        self.instances.lock().get(id).map(|(target, _)| target.clone())
    }

    fn healthy(&self, id: &ProbeId) -> Option<bool> {
        self.instances.lock().get(id).map(|(_, healthy)| *healthy)
    }

    fn params(&self) -> ProbeParams {
        *self.params.lock()
    }

    fn responsible(&self, _id: &ProbeId) -> bool {
        self.responsible.load(Ordering::Relaxed)
    }

    fn report(&self, id: &ProbeId, healthy: bool) {
        if self.writable.load(Ordering::Relaxed)
            && let Some((_, known)) = self.instances.lock().get_mut(id)
        {
            *known = healthy;
        }
        self.reports.try_send((id.clone(), healthy)).unwrap();
    }
}

/// Probes that take a while and all find the same; when each began is told.
struct Made {
    outcome: Arc<Mutex<Outcome>>,
    begun: mpsc::Receiver<Instant>,
    most: Arc<AtomicUsize>,
}

fn made(takes: Duration) -> (Probes, Made) {
    let (begin, begun) = mpsc::channel(1_000_000);
    let outcome = Arc::new(Mutex::new(Outcome::Up));
    let [now, most] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let made = Made { outcome: outcome.clone(), begun, most: most.clone() };
    let probes: Probes = Box::new(move |_| {
        begin.try_send(Instant::now()).unwrap();
        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let (outcome, now) = (outcome.clone(), now.clone());
        async move {
            sleep(takes).await;
            now.fetch_sub(1, Ordering::Relaxed);
            outcome.lock().clone()
        }
        .boxed()
    });
    (probes, made)
}

impl Made {
    async fn next(&mut self) -> Instant {
        self.begun.recv().await.unwrap()
    }

    /// Whether no probe begins for a minute.
    async fn is_quiet(&mut self) -> bool {
        !matches!(timeout(Duration::from_secs(60), self.begun.recv()).await, Ok(Some(_)))
    }
}

fn settings() -> ProberSettings {
    ProberSettings { seed: 7, ..ProberSettings::default() }
}

const MILLIS: fn(u64) -> Duration = Duration::from_millis;

#[tokio::test(start_paused = true)]
async fn the_first_probe_comes_after_two_seconds_and_the_next_ones_faster_and_faster() {
    let (registry, _reports) = Registry::new();
    let (probes, mut made) = made(MILLIS(3));
    let prober = Prober::start_with(registry.clone(), probes, &settings(), &Metrics::new());
    let added = Instant::now();
    prober.add(registry.put(1, Checker::Tcp));
    let first = made.next().await;
    assert!((MILLIS(2000)..=MILLIS(7001)).contains(&(first - added)), "{:?}", first - added);
    // As ProbeState says, starting from the time to the first probe; the timer is a millisecond late at most.
    let mut state = ProbeState::new(first - added);
    let mut last = first;
    for _ in 0..20 {
        state.pace(&Outcome::Up, MILLIS(3), ProbeParams::default().tcp);
        let next = made.next().await;
        let difference = (next - last).abs_diff(state.interval());
        assert!(difference <= MILLIS(3), "{:?} instead of {:?}", next - last, state.interval());
        last = next;
    }
    assert_eq!(state.interval(), MILLIS(1000));
}

#[tokio::test(start_paused = true)]
async fn first_probes_are_spread() {
    let (registry, _reports) = Registry::new();
    let (probes, mut made) = made(MILLIS(0));
    let prober = Prober::start_with(registry.clone(), probes, &settings(), &Metrics::new());
    registry.params.lock().tcp.min_ms = 60_000;
    let added = Instant::now();
    for number in 0..1000 {
        prober.add(registry.put(number, Checker::Tcp));
    }
    let mut seconds = [0; 8];
    for _ in 0..1000 {
        seconds[(made.next().await - added).as_secs() as usize] += 1;
    }
    assert_eq!(seconds[..2], [0, 0]);
    assert!(seconds[2..7].iter().all(|count| (120..280).contains(count)), "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn adding_twice_probes_once() {
    let (registry, _reports) = Registry::new();
    let (probes, mut made) = made(MILLIS(1));
    let prober = Prober::start_with(registry.clone(), probes, &settings(), &Metrics::new());
    let one = registry.put(1, Checker::Tcp);
    for _ in 0..10 {
        prober.add(one.clone());
    }
    assert_eq!(prober.len(), 1);
    let mut last = made.next().await;
    for _ in 0..30 {
        prober.add(one.clone());
        let next = made.next().await;
        assert!(next - last >= MILLIS(1000), "{:?}", next - last);
        last = next;
    }
}

#[tokio::test(start_paused = true)]
async fn health_changes_after_three_and_back_after_three() {
    let (registry, mut reports) = Registry::new();
    let (probes, mut made) = made(MILLIS(1));
    let prober = Prober::start_with(registry.clone(), probes, &settings(), &Metrics::new());
    let one = registry.put(1, Checker::Tcp);
    prober.add(one.clone());
    for (outcome, healthy) in
        [(Outcome::Down("x".into()), false), (Outcome::Up, true), (Outcome::Slow("x".into()), false)]
    {
        *made.outcome.lock() = outcome;
        for _ in 0..3 {
            assert!(reports.try_recv().is_err());
            made.next().await;
        }
        assert_eq!(reports.recv().await.unwrap(), (one.clone(), healthy));
    }
    *made.outcome.lock() = Outcome::Up;
    for _ in 0..3 {
        made.next().await;
    }
    assert!(reports.recv().await.unwrap().1);
    *made.outcome.lock() = Outcome::DownNow("refused".into());
    made.next().await;
    assert!(!reports.recv().await.unwrap().1);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_came_to_nothing_is_made_again() {
    let (registry, mut reports) = Registry::new();
    let (probes, mut made) = made(MILLIS(1));
    registry.writable.store(false, Ordering::Relaxed);
    *made.outcome.lock() = Outcome::DownNow("refused".into());
    let prober = Prober::start_with(registry.clone(), probes, &settings(), &Metrics::new());
    prober.add(registry.put(1, Checker::Tcp));
    for _ in 0..5 {
        made.next().await;
        assert!(!reports.recv().await.unwrap().1);
    }
    registry.writable.store(true, Ordering::Relaxed);
    assert!(!reports.recv().await.unwrap().1);
    assert!(timeout(Duration::from_secs(60), reports.recv()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_forgotten_and_may_come_back() {
    let (registry, _reports) = Registry::new();
    let (probes, mut made) = made(MILLIS(1));
    let prober = Prober::start_with(registry.clone(), probes, &settings(), &Metrics::new());
    let one = registry.put(1, Checker::Tcp);
    prober.add(one.clone());
    made.next().await;
    registry.instances.lock().clear();
    assert!(made.is_quiet().await);
    assert!(prober.is_empty());
    registry.put(1, Checker::Tcp);
    assert!(made.is_quiet().await, "nobody said so");
    prober.add(one);
    made.next().await;
    assert_eq!(prober.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_while_it_is_forgotten_is_kept() {
    let (registry, _reports) = Registry::new();
    let (probes, mut made) = made(MILLIS(400));
    let prober = Prober::start_with(registry.clone(), probes, &settings(), &Metrics::new());
    let one = registry.put(1, Checker::Tcp);
    prober.add(one.clone());
    made.next().await;
    // The probe is under way, the instance goes and comes back, and only its going is seen.
    prober.add(one.clone());
    let back = registry.instances.lock().remove(&one).unwrap();
    sleep(MILLIS(500)).await;
    registry.instances.lock().insert(one, back);
    assert_eq!(prober.len(), 1);
    made.next().await;
}

#[tokio::test(start_paused = true)]
async fn switches_and_members_decide_who_is_probed() {
    let (registry, mut reports) = Registry::new();
    let (probes, mut made) = made(MILLIS(100));
    let prober = Prober::start_with(registry.clone(), probes, &settings(), &Metrics::new());
    prober.add(registry.put(1, Checker::Tcp));
    made.next().await;

    registry.params.lock().enabled = false;
    assert!(made.is_quiet().await, "health check is off");
    registry.params.lock().enabled = true;
    made.next().await;

    registry.responsible.store(false, Ordering::Relaxed);
    assert!(made.is_quiet().await, "another server does it");
    registry.responsible.store(true, Ordering::Relaxed);
    made.next().await;

    // What changes while the probe is under way counts as well.
    sleep(MILLIS(200)).await;
    *made.outcome.lock() = Outcome::DownNow("refused".into());
    made.next().await;
    registry.params.lock().enabled = false;
    assert!(timeout(Duration::from_secs(60), reports.recv()).await.is_err());
    registry.params.lock().enabled = true;
    assert!(!reports.recv().await.unwrap().1);
}

#[tokio::test(start_paused = true)]
async fn a_changed_checker_counts_from_the_next_probe_on() {
    let (registry, _reports) = Registry::new();
    let (probes, mut made) = made(MILLIS(1));
    let metrics = Metrics::new();
    let prober = Prober::start_with(registry.clone(), probes, &settings(), &metrics);
    prober.add(registry.put(1, Checker::None));
    assert!(made.is_quiet().await);
    assert_eq!(prober.len(), 1);
    registry.put(1, Checker::Http { path: String::new(), headers: String::new(), expected_response_code: 200 });
    made.next().await;
    registry.put(1, Checker::Mysql { user: None, pwd: None, cmd: None });
    made.next().await;
    made.next().await;
    registry.put(1, Checker::Tcp);
    made.next().await;
    let text = metrics.render();
    for (name, count) in [("tcpHealthCheck", 1), ("httpHealthCheck", 1), ("mysqlHealthCheck", 2)] {
        let line = format!("nacos_monitor{{module=\"naming\",name=\"{name}\"}} {count}");
        assert!(text.contains(&line), "{line} missing in:\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_are_probed_with_few_at_once() {
    let (registry, _reports) = Registry::new();
    let (probes, mut made) = made(MILLIS(500));
    let metrics = Metrics::new();
    let settings = ProberSettings { in_flight_max: 64, seed: 7 };
    let prober = Prober::start_with(registry.clone(), probes, &settings, &metrics);
    // At 64 in half a second, a round takes 78 seconds.
    for number in 0..10_000 {
        prober.add(registry.put(number, Checker::Tcp));
    }
    let began = Instant::now();
    for _ in 0..10_000 {
        made.next().await;
    }
    assert!(began.elapsed() <= Duration::from_secs(100), "{:?}", began.elapsed());
    assert_eq!(made.most.load(Ordering::Relaxed), 64, "all places are used, and no more");
    assert!(metrics.render().contains("nacos_naming_probes_late_total"));
    assert!(prober.shared.counts.late.get() > 1000);

    drop(prober);
    advance(Duration::from_secs(1)).await;
    while made.begun.try_recv().is_ok() {}
    assert!(made.is_quiet().await, "probing ends with its prober");
}

#[tokio::test(start_paused = true)]
async fn all_have_their_turn() {
    let (registry, _reports) = Registry::new();
    let turns = Arc::new(Mutex::new(HashMap::<u16, usize>::new()));
    let counted = turns.clone();
    let probes: Probes = Box::new(move |target| {
        *counted.lock().entry(target.port).or_default() += 1;
        sleep(MILLIS(500)).map(|()| Outcome::Up).boxed()
    });
    let settings = ProberSettings { in_flight_max: 10, seed: 7 };
    let prober = Prober::start_with(registry.clone(), probes, &settings, &Metrics::new());
    for number in 0..200 {
        prober.add(registry.put(number, Checker::Tcp));
    }
    // Ten seconds a round: whoever waits longest is next.
    sleep(Duration::from_secs(7 + 100)).await;
    let turns = turns.lock();
    let [fewest, most] = [turns.values().min(), turns.values().max()].map(|count| *count.unwrap());
    // The first seconds, when not all are there yet, give some a turn or two more.
    assert!(turns.len() == 200 && fewest >= 9 && most - fewest <= 4, "{fewest} to {most}");
}

#[tokio::test(start_paused = true)]
async fn one_probe_that_panics_ends_no_other() {
    let (registry, mut reports) = Registry::new();
    let probes: Probes = Box::new(move |target| {
        async move { if target.port == 1 { panic!("on purpose") } else { Outcome::DownNow("x".into()) } }.boxed()
    });
    let prober = Prober::start_with(registry.clone(), probes, &settings(), &Metrics::new());
    prober.add(registry.put(1, Checker::Tcp));
    prober.add(registry.put(2, Checker::Tcp));
    assert_eq!(reports.recv().await.unwrap(), (id(2), false));
    sleep(Duration::from_secs(60)).await;
    assert!(prober.shared.counts.untried.get() > 1, "and that one is tried again");
    assert!(reports.try_recv().is_err());
}

#[tokio::test]
async fn a_listener_that_goes_and_comes_is_noticed() {
    let listener = TcpListener::bind("127.0.0.6:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (registry, mut reports) = Registry::new();
    *registry.params.lock() = ProbeParams {
        check_times: 2,
        tcp: crate::health::probe::Pace { max_ms: 100, min_ms: 100, factor: 0.0 },
        ..ProbeParams::default()
    };
    let prober = Prober::start(registry.clone(), Dialler::new(), &settings(), &Metrics::new());
    let target = ProbeTarget { ip: address.ip().to_string(), port: address.port(), checker: Checker::Tcp };
    registry.instances.lock().insert(id(1), (target, false));
    prober.add(id(1));
    assert_eq!(reports.recv().await.unwrap(), (id(1), true));
    drop(listener);
    assert_eq!(reports.recv().await.unwrap(), (id(1), false));
    let _listener = TcpListener::bind(address).await.unwrap();
    assert_eq!(reports.recv().await.unwrap(), (id(1), true));
}
