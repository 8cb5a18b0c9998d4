use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::*;

/// One group in memory.
#[derive(Default)]
struct InMemory {
    processor: Mutex<Option<Arc<dyn RequestProcessor>>>,
    log: Mutex<Vec<String>>,
    fails: AtomicBool,
}

impl InMemory {
    fn with_log(log: &[String]) -> Arc<Self> {
        Arc::new(Self { log: Mutex::new(log.to_vec()), ..Self::default() })
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    fn processor(&self) -> Arc<dyn RequestProcessor> {
        self.processor.lock().clone().expect("a processor")
    }

    fn apply(&self, entry: &str) -> Result<String, ApplyError> {
        self.processor().apply(entry)
    }

    fn save(&self) -> String {
        self.processor().snapshot().expect("snapshots").save().expect("a snapshot")
    }

    fn load(&self, text: &str) -> Result<(), String> {
        self.processor().snapshot().expect("snapshots").load(text)
    }
}

#[async_trait]
impl CpProtocol for InMemory {
    async fn add_processor(&self, processor: Arc<dyn RequestProcessor>) -> Result<(), CpError> {
        for entry in self.log() {
            processor.apply(&entry).map_err(|error| CpError::Refused(error.to_string()))?;
        }
        *self.processor.lock() = Some(processor);
        Ok(())
    }

    async fn write(&self, group: &str, entry: Entry) -> Result<String, CpError> {
        assert_eq!(group, GROUP);
        // Whoever waits to update gets a turn before this is applied.
        tokio::task::yield_now().await;
        if self.fails.load(Relaxed) {
            return Err(CpError::Unavailable(GROUP.to_owned(), "no leader".to_owned()));
        }
        self.log.lock().push(entry.to_string());
        self.apply(&entry).map_err(|error| CpError::Refused(error.to_string()))
    }

    async fn read(&self, _: &str, request: &str) -> Result<String, CpError> {
        self.processor().read(request).map_err(|error| CpError::Refused(error.to_string()))
    }
}

async fn started() -> (Arc<InMemory>, Switches) {
    let protocol = Arc::new(InMemory::default());
    let switches = Switches::start(protocol.clone()).await.expect("a start");
    (protocol, switches)
}

impl Switches {
    /// Switches that stand so, for the tests of this crate; an update lasts until they are dropped.
    pub(crate) fn standing(domain: SwitchDomain) -> Self {
        let protocol = Arc::new(InMemory::default());
        let switches = Self::new(protocol.clone());
        switches.state.set_stored(domain);
        *protocol.processor.lock() = Some(switches.state.clone());
        switches
    }
}

#[tokio::test]
async fn an_update_is_stored_and_comes_back() {
    let (protocol, switches) = started().await;
    assert_eq!(*switches.get(), SwitchDomain::default());
    switches.update("healthCheckTimes", "5", false).await.expect("an update");
    switches.update("lightBeatEnabled", "off", false).await.expect("an update");
    let expected = SwitchDomain { check_times: 5, light_beat_enabled: false, ..SwitchDomain::default() };
    assert_eq!(*switches.get(), expected);
    assert_eq!(*switches.clone().get(), expected);

    // The log alone, and the snapshot alone.
    let restarted = Switches::start(InMemory::with_log(&protocol.log())).await.expect("a start");
    assert_eq!(*restarted.get(), expected);
    assert!(!restarted.light_beat_enabled());
    let (other, restored) = started().await;
    other.load(&protocol.save()).expect("a snapshot of ours");
    assert_eq!(*restored.get(), expected);
    assert!(!restored.light_beat_enabled());
    assert_eq!(protocol.read(GROUP, "").await, Ok(protocol.save()));
}

#[tokio::test]
async fn a_change_for_debugging_is_stored_with_the_next_update_alone() {
    let (protocol, switches) = started().await;
    switches.update("clientBeatInterval", "6000", true).await.expect("an update");
    assert_eq!(switches.client_beat_interval(), 6_000);
    assert_eq!(switches.get().client_beat_interval, 6_000);
    assert!(protocol.log().is_empty());
    let (untouched, _) = started().await;
    assert_eq!(protocol.save(), untouched.save());

    switches.update("healthCheckTimes", "5", false).await.expect("an update");
    assert_eq!(switches.client_beat_interval(), 6_000);
    let restarted = Switches::start(InMemory::with_log(&protocol.log())).await.expect("a start");
    assert_eq!((restarted.client_beat_interval(), restarted.get().check_times), (6_000, 5));
}

#[tokio::test]
async fn what_is_refused_or_fails_changes_nothing() {
    let (protocol, switches) = started().await;
    for debug in [true, false] {
        let refused = switches.update("pushCacheMillis", "1", debug).await;
        let text = "min cache time for http or tcp is too small(<10000)".to_owned();
        assert_eq!(refused, Err(SwitchUpdateError::Value(SwitchError::Illegal(text))));
    }
    protocol.fails.store(true, Relaxed);
    let failed = switches.update("healthCheckTimes", "5", false).await.expect_err("no leader");
    assert_eq!(failed.to_string(), "the group naming_persistent_service takes no writes: no leader");
    assert!(matches!(failed, SwitchUpdateError::Store(CpError::Unavailable(..))));
    assert_eq!(*switches.get(), SwitchDomain::default());
    assert!(protocol.log().is_empty());
    // The next one is not in its way.
    protocol.fails.store(false, Relaxed);
    switches.update("healthCheckTimes", "6", false).await.expect("an update");
    assert_eq!(switches.get().check_times, 6);
}

#[tokio::test]
async fn updates_at_the_same_time_undo_nothing() {
    let (protocol, switches) = started().await;
    let (one, two, three) = tokio::join!(
        switches.update("healthCheckTimes", "5", false),
        switches.update("clientBeatInterval", "6000", true),
        switches.update("pushCacheMillis", "12000", false),
    );
    assert_eq!([one, two, three], [Ok(()), Ok(()), Ok(())]);
    let expected = SwitchDomain {
        check_times: 5,
        client_beat_interval: 6_000,
        default_push_cache_millis: 12_000,
        ..SwitchDomain::default()
    };
    assert_eq!(*switches.get(), expected);
    assert_eq!(protocol.log().len(), 2);
}

#[tokio::test]
async fn an_operator_who_leaves_undoes_nothing() {
    let (protocol, switches) = started().await;
    let mut left = Box::pin(switches.update("healthCheckTimes", "5", false));
    assert_eq!((&mut left).now_or_never(), None);
    // It is at the protocol now.
    tokio::task::yield_now().await;
    drop(left);
    switches.update("pushCacheMillis", "12000", false).await.expect("an update");
    let domain = switches.get();
    assert_eq!((domain.check_times, domain.default_push_cache_millis), (5, 12_000));
    assert_eq!(protocol.log().len(), 2);
}

#[tokio::test]
async fn an_entry_is_a_small_versioned_json() {
    let (protocol, switches) = started().await;
    switches.update("nosuch", "x", false).await.expect("nothing to do");
    let defaults = serde_json::to_string(&SwitchDomain::default()).expect("it can be written");
    assert_eq!(protocol.log(), [format!(r#"{{"v":1,"switchDomain":{defaults}}}"#)]);
    assert_eq!(protocol.save(), protocol.log()[0]);

    // Written by a later server of the same version.
    let later = r#"{"v":1,"by":"x","switchDomain":{"checkTimes":7,"later":[{}]}}"#;
    assert_eq!(protocol.apply(later), Ok(String::new()));
    assert_eq!(*switches.get(), SwitchDomain { check_times: 7, ..SwitchDomain::default() });

    for refused in ["", "{}", "nonsense", r#"{"v":1}"#, r#"{"v":1,"switchDomain":{"checkTimes":"x"}}"#] {
        assert!(matches!(protocol.apply(refused), Err(ApplyError::Refused(_))), "{refused}");
        assert!(protocol.load(refused).is_err(), "{refused}");
    }
    let unknown = r#"{"v":2,"switchDomain":"of another kind"}"#;
    let text = "switches of version 2, which this server does not know".to_owned();
    assert_eq!(protocol.apply(unknown), Err(ApplyError::Critical(text.clone())));
    assert_eq!(protocol.load(unknown), Err(text));
    assert_eq!(switches.get().check_times, 7);
}

#[tokio::test]
async fn what_is_held_apart_follows_the_domain() {
    let agree = |switches: &Switches| {
        let domain = switches.get();
        assert_eq!(switches.push_enabled(), domain.push_enabled);
        assert_eq!(switches.health_check_enabled(), domain.health_check_enabled);
        assert_eq!(switches.client_beat_interval(), domain.client_beat_interval);
        assert_eq!(switches.push_cache_millis() as i64, domain.default_push_cache_millis);
        assert_eq!(switches.light_beat_enabled(), domain.light_beat_enabled);
        assert_eq!(switches.default_instance_ephemeral(), domain.default_instance_ephemeral);
        assert_eq!(switches.auto_change_health_check_enabled(), domain.auto_change_health_check_enabled);
        assert_eq!(switches.overridden_status(), domain.overridden());
        domain
    };
    let (_, switches) = started().await;
    let mut before = agree(&switches);
    for (entry, value) in [
        ("pushEnabled", "false"),
        ("check", "false"),
        ("clientBeatInterval", "-1"),
        ("pushCacheMillis", "20000"),
        ("lightBeatEnabled", "no"),
        ("defaultInstanceEphemeral", "false"),
        ("autoChangeHealthCheckEnabled", "no"),
        ("overriddenServerStatus", "READ_ONLY"),
        ("overriddenServerStatus", "nosuch"),
    ] {
        switches.update(entry, value, false).await.expect("an update");
        let after = agree(&switches);
        assert_ne!(after, before, "{entry}");
        before = after;
    }
}

#[tokio::test]
async fn an_operator_overrides_the_state() {
    let (_, switches) = started().await;
    assert_eq!((switches.overridden_status(), switches.status()), (None, ServerStatus::Up));
    for status in ServerStatus::ALL {
        switches.update("overriddenServerStatus", status.name(), false).await.expect("an update");
        assert_eq!((switches.overridden_status(), switches.status()), (Some(status), status));
    }
    for nothing in ["null", "", " ", "nosuch"] {
        switches.update("overriddenServerStatus", "DOWN", false).await.expect("an update");
        switches.update("overriddenServerStatus", nothing, false).await.expect("an update");
        assert_eq!((switches.overridden_status(), switches.status()), (None, ServerStatus::Up), "{nothing}");
    }
}

#[tokio::test]
async fn the_white_list_is_for_probes() {
    let switches = Switches::standing(SwitchDomain {
        health_check_enabled: false,
        health_check_white_list: ["DEFAULT_GROUP@@listed".to_owned()].into(),
        ..SwitchDomain::default()
    });
    assert!(!switches.health_check_enabled());
    assert!(switches.probe_enabled("DEFAULT_GROUP@@listed") && !switches.probe_enabled("DEFAULT_GROUP@@other"));
    switches.update("check", "true", false).await.expect("an update");
    assert!(switches.health_check_enabled() && switches.probe_enabled("DEFAULT_GROUP@@other"));
}

#[tokio::test]
async fn limited_addresses_are_told() {
    let (_, switches) = started().await;
    let list = "/nacos/v1/ns/instance/list?null";
    assert_eq!(switches.limited(list), None);
    let limits =
        "/nacos/v1/ns/instance:502,/nacos/v1/ns/instance/list:504,/nacos/v1/ns/service?null:429,/odd:70000,/no:101";
    switches.update("limitedUrlMap", limits, false).await.expect("an update");
    for (address, status) in [
        (list, Some(504)),
        ("/nacos/v1/ns/instance?ip=1", Some(502)),
        ("/nacos/v1/ns/instances", Some(502)),
        ("/nacos/v1/ns/service?null", Some(429)),
        ("/nacos/v1/ns/service?serviceName=s", None),
        ("/v1/ns/instance", None),
        // No status that an answer could have.
        ("/odd", Some(503)),
        ("/no", Some(503)),
        ("", None),
    ] {
        assert_eq!(switches.limited(address), status, "{address}");
    }
    switches.update("limitedUrlMap", ",", false).await.expect("an update");
    assert_eq!(switches.limited(list), None);
}

#[tokio::test]
async fn clients_are_pushed_to_while_pushes_are_on() {
    let (_, switches) = started().await;
    let agent = "Nacos-Java-Client:v1.4.2";
    assert!(switches.can_push(agent) && !switches.can_push("Nacos-Python-Client:v1.4.2"));
    switches.update("pushVersion", "java:1.4.3", false).await.expect("an update");
    assert!(!switches.can_push(agent));
    switches.update("pushVersion", "java:1.4.2", false).await.expect("an update");
    assert!(switches.can_push(agent));
    switches.update("pushEnabled", "false", false).await.expect("an update");
    assert!(!switches.can_push(agent));
}
