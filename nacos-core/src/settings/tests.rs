use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn input(file: &str, env: &[(&str, &str)], set: &[(&str, &str)]) -> SettingsInput {
    let file = SettingsFile { name: "conf/application.properties".into(), bytes: file.into() };
    SettingsInput { file: Some(file), env: pairs(env), set: pairs(set), ..SettingsInput::default() }
}

fn load(file: &str, env: &[(&str, &str)], set: &[(&str, &str)]) -> Loaded {
    Settings::load(input(file, env, set)).expect("settings")
}

fn errors(file: &str, env: &[(&str, &str)], set: &[(&str, &str)]) -> String {
    Settings::load(input(file, env, set)).expect_err("wrong settings").to_string()
}

#[test]
fn defaults_are_those_of_the_table() {
    let settings = Settings::defaults().expect("the defaults");
    assert_eq!(settings.listen_addr().to_string(), "127.0.0.1:8848");
    assert_eq!(settings.server.context_path, "/nacos");
    assert_eq!(settings.server.home, PathBuf::from("./data"));
    assert_eq!(settings.logs.path, PathBuf::from("./data/logs"));
    assert_eq!(settings.logs.level, tracing::level_filters::LevelFilter::INFO);
    assert_eq!(settings.http.max_bodies_bytes, 512 << 20);
    assert_eq!(settings.config.cache_max_bytes, 256 << 20);
    assert_eq!(settings.config.retention, Duration::from_secs(30 * 24 * 60 * 60));
    assert_eq!(settings.core.worker_id, None);
    assert!(settings.storage.databases.is_empty() && settings.auth.peer_identity.is_none());
}

#[test]
fn every_option_is_found_under_each_of_its_names() {
    let mut problems = Vec::new();
    let specs: Vec<OptionSpec> = table::all().copied().collect();
    let names = Names::new(&specs, &mut problems);
    assert_eq!(problems, []);
    // The one pair that differs by case alone, in Nacos too.
    let twins = ["nacos.core.auth.ldap.userDn", "nacos.core.auth.ldap.userdn"];
    for (at, spec) in specs.iter().enumerate() {
        for name in spec.names() {
            assert_eq!(names.find(name).map(|slot| slot.0), Some(at), "{name}");
            if !twins.contains(&name) {
                let relaxed = name.to_ascii_uppercase().replace('-', "");
                assert_eq!(names.find(&relaxed).map(|slot| slot.0), Some(at), "{relaxed}");
                let found = names.find_variable(&names::upper(name));
                assert!(
                    matches!(found, Some(names::Variable::Spring(slot) | names::Variable::Image(slot, _)) if slot.0 == at),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn later_layers_win_and_say_where_they_are() {
    let mut all = input("# c\nserver.port=1001\n", &[("SERVER_PORT", "1002")], &[("server.port", "1003")]);
    all.flags = vec![Flag { flag: "--port".into(), option: "server.port".into(), value: "1004".into() }];
    let mut expected = vec![
        (8848, "default"),
        (1001, "file conf/application.properties line 2"),
        (1002, "environment variable SERVER_PORT"),
        (1003, "--set"),
        (1004, "--port"),
    ];
    while let Some((port, source)) = expected.pop() {
        let settings = Settings::load(all.clone()).expect("settings").settings;
        assert_eq!(settings.server.port, port);
        let line = settings.print().lines().find(|line| line.contains("server.port ")).expect("a line").to_owned();
        assert!(line.contains(&format!("= {port} ")) && line.contains(source), "{line}");
        assert_eq!(line.starts_with('*'), source != "default");
        match expected.len() {
            4 => all.flags.clear(),
            3 => all.set.clear(),
            2 => all.env.clear(),
            _ => all.file = None,
        }
    }
}

#[test]
fn the_container_image_s_variables() {
    let Loaded { settings, warnings, no_effect } = load(
        "",
        &[
            ("MODE", "standalone"),
            ("EMBEDDED_STORAGE", "embedded"),
            ("FUNCTION_MODE", "config"),
            ("NACOS_SERVERS", "a:8848  b:8848"),
            ("NACOS_APPLICATION_PORT", "9000"),
            ("SERVER_SERVLET_CONTEXTPATH", "/"),
            ("NACOS_AUTH_ENABLE", "true"),
            ("NACOS_AUTH_IDENTITY_KEY", "k"),
            ("NACOS_AUTH_IDENTITY_VALUE", "v"),
            ("NACOS_AUTH_TOKEN", ""),
            ("MYSQL_DATABASE_NUM", ""),
            ("JVM_XMS", "1g"),
            ("PATH", "/bin"),
        ],
        &[],
    );
    assert_eq!((warnings, no_effect), (vec![], vec![]));
    assert!(settings.cluster.standalone && settings.storage.embedded && settings.auth.enabled);
    assert_eq!(settings.cluster.function_mode, FunctionMode::Config);
    assert_eq!(settings.cluster.members, ["a:8848", "b:8848"]);
    assert_eq!(settings.server.context_path, "");
    assert_eq!(settings.listen_addr().to_string(), "0.0.0.0:9000");
    let identity = settings.auth.peer_identity.expect("an identity");
    assert_eq!((identity.key.as_str(), identity.value.expose()), ("k", "v"));
    // The image ignores other words.
    let cluster = load("", &[("MODE", "cluster"), ("FUNCTION_MODE", "all"), ("EMBEDDED_STORAGE", "x")], &[]).settings;
    assert!(!cluster.cluster.standalone && !cluster.storage.embedded);
}

#[test]
fn the_image_s_database_counts_where_a_platform_is_named() {
    let mut env = vec![
        ("MYSQL_SERVICE_HOST", "db"),
        ("MYSQL_SERVICE_DB_NAME", "nacos"),
        ("MYSQL_SERVICE_USER", "u"),
        ("MYSQL_SERVICE_PASSWORD", "p"),
    ];
    assert!(load("", &env, &[]).settings.storage.databases.is_empty());
    env.push(("SPRING_DATASOURCE_PLATFORM", "postgresql"));
    let storage = load("", &env, &[]).settings.storage;
    assert_eq!(storage.platform, "postgresql");
    let database = &storage.databases[0];
    assert_eq!(database.url.expose(), "jdbc:postgresql://db:5432/nacos");
    assert_eq!((database.user.as_str(), database.password.expose()), ("u", "p"));
}

/// The options of the image's own file that matter here, in its way of writing them.
const IMAGE_FILE: &str = "\
server.servlet.contextPath=${SERVER_SERVLET_CONTEXTPATH:/nacos}
server.contextPath=/nacos
server.port=${NACOS_APPLICATION_PORT:8848}
server.tomcat.accesslog.max-days=30
spring.sql.init.platform=${SPRING_DATASOURCE_PLATFORM:}
nacos.cmdb.dumpTaskInterval=3600
db.num=${MYSQL_DATABASE_NUM:1}
db.url.0=jdbc:mysql://${MYSQL_SERVICE_HOST}:${MYSQL_SERVICE_PORT:3306}/${MYSQL_SERVICE_DB_NAME}?${P:a=1&b=2}
db.user.0=${MYSQL_SERVICE_USER}
db.password.0=${MYSQL_SERVICE_PASSWORD}
nacos.core.auth.plugin.nacos.token.expire.seconds=${NACOS_AUTH_TOKEN_EXPIRE_SECONDS:18000}
management.metrics.export.elastic.enabled=false
nacos.naming.data.warmup=true
";

#[test]
fn the_image_s_file_serves_as_it_is() {
    let Loaded { settings, warnings, no_effect } = load(IMAGE_FILE, &[], &[]);
    assert_eq!(warnings, Vec::<String>::new());
    assert!(settings.storage.databases.is_empty());
    let mentioned = |name: &str| no_effect.iter().any(|line| line.starts_with(name));
    for name in ["server.contextPath", "db.url.0", "db.password.0", "management.", "nacos.naming.data.warmup"] {
        assert!(mentioned(name), "{name}: {no_effect:?}");
    }
    // Spelt out, but the default.
    assert!(!mentioned("nacos.core.auth.plugin"));
    let env = [
        ("SPRING_DATASOURCE_PLATFORM", "mysql"),
        ("MYSQL_SERVICE_HOST", "db"),
        ("MYSQL_SERVICE_DB_NAME", "n"),
        ("MYSQL_SERVICE_PASSWORD", "p"),
    ];
    let error = errors(&IMAGE_FILE.replace("db.url.0", "#"), &env[..1], &[]);
    assert!(error.contains("db.user.0 (file conf/application.properties line 9): ${MYSQL_SERVICE_USER} is not set"));
    assert!(error.contains("line 10"), "all are named: {error}");
    let database = load(&IMAGE_FILE.replace("db.user.0=${MYSQL_SERVICE_USER}", ""), &env, &[]).settings.storage;
    assert!(database.databases[0].url.expose().starts_with("jdbc:mysql://db:3306/n?"));
}

#[test]
fn several_databases_share_the_first_user() {
    let file = "db.num=2\ndb.url.0=u0\ndb.url[1]=u1\ndb.user=nacos\ndb.password.0=p\ndb.password.1=q\n";
    let databases = load(file, &[], &[]).settings.storage.databases;
    let read: Vec<_> = databases.iter().map(|d| (d.url.expose(), d.user.as_str(), d.password.expose())).collect();
    assert_eq!(read, [("u0", "nacos", "p"), ("u1", "nacos", "q")]);
    let warnings = load(&file.replace("db.num=2", ""), &[], &[]).warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("only the first 1"), "{warnings:?}");
    let error = errors(file, &[("DB_NUM", "3")], &[]);
    assert_eq!(
        error,
        "db.num=3 (environment variable DB_NUM) asks for more databases than there are: db.url.2 is missing"
    );
    assert_eq!(load(file, &[("DB_URL_1", "e1")], &[]).settings.storage.databases[1].url.expose(), "e1");
}

#[test]
fn unknown_names_are_warned_about_with_the_nearest() {
    let warnings = load(
        "nacos.core.auth.enable=true\nserver.prot=1\nmy.thing=1\nserver.tomcat.max-threads=9\n",
        &[("NACOS_AUTH_ENABLED", "true"), ("NACOS_VERSION", "2"), ("NACOS_SERVICE_PORT", "tcp://10.0.0.1:1")],
        &[("nacos.confg.retention.days", "1")],
    )
    .warnings;
    assert_eq!(
        warnings,
        [
            "environment variable NACOS_AUTH_ENABLED is not known; did you mean NACOS_AUTH_ENABLE?",
            "unknown option my.thing (file conf/application.properties line 3)",
            "unknown option nacos.confg.retention.days (--set); did you mean nacos.config.retention.days?",
            "unknown option nacos.core.auth.enable (file conf/application.properties line 1); did you mean \
             nacos.core.auth.enabled?",
            "unknown option server.prot (file conf/application.properties line 2); did you mean server.port?",
        ]
    );
}

#[test]
fn protection_that_is_not_there_is_warned_about() {
    let loaded =
        load("server.ssl.enabled=true\nnacos.core.auth.system.type=ldap\nnacos.naming.data.warmup=true", &[], &[]);
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert_eq!(
        loaded.no_effect,
        ["nacos.naming.data.warmup (file conf/application.properties line 3) has no effect yet"]
    );
}

#[test]
fn all_wrong_values_are_named_with_their_source_and_what_is_expected() {
    let error = errors(
        "server.port=abc\nnacos.config.retention.days=0\nisManageCapacity=fasle\nnacos.logs.path=${NOWHERE}",
        &[("NACOS_CONFIG_CACHE_MAX_BYTES", "lots")],
        &[("nacos.log.level", "loud"), ("server.address", "example.org"), ("nacos.core.param.check.enabled", "${a}")],
    );
    let mut lines: Vec<&str> = error.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "NACOS_CONFIG_CACHE_MAX_BYTES=lots (environment variable NACOS_CONFIG_CACHE_MAX_BYTES): expected a number \
             of bytes from 1, or one with KB, MB or GB",
            "isManageCapacity=fasle (file conf/application.properties line 3): expected true or false",
            "nacos.config.retention.days=0 (file conf/application.properties line 2): expected a number of days from 1 \
             to 36500, or one with ms, s, m, h or d",
            "nacos.core.param.check.enabled (--set): ${a} is not set anywhere and has no default",
            "nacos.log.level=loud (--set): expected one of off, error, warn, info, debug, trace",
            "nacos.logs.path (file conf/application.properties line 4): ${NOWHERE} is not set anywhere and has no default",
            "server.address=example.org (--set): expected an IP address or localhost",
            "server.port=abc (file conf/application.properties line 1): expected a whole number from 0 to 65535",
        ]
    );
}

#[test]
fn a_malformed_file_is_named_with_its_line() {
    assert!(errors("a=1\n\nnacos.home=C:\\users\n", &[], &[]).starts_with("file conf/application.properties line 3: "));
}

#[test]
fn an_empty_value_is_the_default_except_for_texts() {
    let settings = load(
        "server.port=\nnacos.home=\nserver.servlet.contextPath=\nnacos.member.list=x",
        &[("NACOS_AUTH_ENABLE", " ")],
        &[("nacos.member.list", "")],
    )
    .settings;
    assert_eq!((settings.server.port, settings.server.context_path.as_str()), (8848, ""));
    assert_eq!(settings.logs.path, PathBuf::from("./data/logs"));
    assert!(settings.cluster.members.is_empty() && !settings.auth.enabled);
}

#[test]
fn one_layer_setting_a_thing_twice() {
    let old = "spring.datasource.platform";
    let new = "spring.sql.init.platform";
    let platform = |file: String| {
        let loaded = load(&file, &[], &[]);
        (loaded.settings.storage.platform, loaded.warnings.len())
    };
    // The newer name wins wherever it stands, unless it says nothing.
    assert_eq!(platform(format!("{new}=a\n{old}=b")), ("a".into(), 1));
    assert_eq!(platform(format!("{old}=b\n{new}=a")), ("a".into(), 1));
    assert_eq!(platform(format!("{old}=b\n{new}=")), ("b".into(), 0));
    assert_eq!(platform(format!("{new}=\n{old}=b")), ("b".into(), 0));
    // The later line wins, and an empty one clears.
    assert_eq!(platform(format!("{new}=a\n{new}=b")), ("b".into(), 1));
    assert_eq!(platform(format!("{new}=a\n{new}=")).0, "");
    // Old images write the quotes.
    assert_eq!(platform(format!("{old}=${{SPRING_DATASOURCE_PLATFORM:\"\"}}")), (String::new(), 0));
    // The image's variable wins over Spring's form.
    let loaded = load("", &[("NACOS_AUTH_ENABLE", "true"), ("NACOS_CORE_AUTH_ENABLED", "false")], &[]);
    assert!(loaded.settings.auth.enabled && loaded.warnings.len() == 1);
}

#[test]
fn a_service_of_kubernetes_is_not_a_port() {
    let loaded = load("", &[("SERVER_PORT", "tcp://10.0.0.1:80"), ("NACOS_CONSOLE_PORT", "tcp://10.0.0.1:80")], &[]);
    assert_eq!(loaded.settings.server.port, 8848);
    assert_eq!(loaded.warnings.len(), 2);
}

#[test]
fn the_listen_address_is_loopback_while_anyone_may_call() {
    let address = |set: &[(&str, &str)]| load("", &[], set).settings.listen_addr().ip().to_string();
    assert_eq!(address(&[]), "127.0.0.1");
    assert_eq!(address(&[("nacos.server.allow-unauthenticated", "true")]), "0.0.0.0");
    assert_eq!(address(&[("nacos.core.auth.enabled", "true")]), "0.0.0.0");
    assert_eq!(address(&[("nacos.core.auth.enabled", "true"), ("server.address", "::1")]), "::1");
    assert_eq!(address(&[("server.address", "127.0.0.2")]), "127.0.0.2");
    let error = errors("", &[], &[("server.address", "0.0.0.0")]);
    assert!(
        error.contains("server.address=0.0.0.0 (--set)") && error.contains("nacos.core.auth.enabled=false (default)")
    );
}

#[test]
fn contradictions_name_both_values() {
    let error = errors("", &[], &[("nacos.server.http.max-bodies-bytes", "1MB")]);
    assert!(error.contains("max-bodies-bytes=1MB (--set)") && error.contains("max-body-bytes=104857600 (default)"));
    assert!(errors("nacos.core.auth.server.identity.key=k", &[], &[]).contains("is set without"));
    let error = errors("nacos.core.auth.server.identity.value=hush", &[], &[]);
    assert!(error.contains("is set without") && !error.contains("hush"));
    let identity = [("nacos.core.auth.server.identity.key", "a b"), ("nacos.core.auth.server.identity.value", "hush")];
    assert!(errors("", &[], &identity).contains("cannot be the name of a header"));
    let warnings = load("maxContent=209715200", &[], &[]).warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("max-body-bytes"), "{warnings:?}");
}

#[test]
fn secrets_are_never_shown() {
    let file = "db.url.0=postgres://u:hush1@db/n?password=hush2\ndb.password.0=hush3\n\
                nacos.core.auth.plugin.nacos.token.secret.key=hush4\nnacos.core.auth.server.identity.key=k\n\
                nacos.core.auth.server.identity.value=hush5\nspring.sql.init.platform=postgresql\ndb.password=hush6";
    let Loaded { settings, warnings, no_effect } = load(file, &[], &[]);
    let all = format!("{}{settings:?}{warnings:?}{no_effect:?}{:?}", settings.print(), input(file, &[], &[]));
    assert!(!all.contains("hush"), "{all}");
    assert!(settings.print().contains("postgres://***@db/n?password=***"));
    assert_eq!(settings.raw("db.password.0"), Some("hush6"));
}

#[test]
fn registered_options_are_like_all_others() {
    const LIMIT: OptionSpec = OptionSpec::new("my.limit", Kind::Integer { min: 1, max: 9 }, "3", "How many of mine.");
    let with = |env: &[(&str, &str)], set: &[(&str, &str)]| {
        Settings::load(SettingsInput { extra: vec![LIMIT], ..input("my.other=${my.limit}x", env, set) })
    };
    let loaded = with(&[("MY_LIMIT", "5")], &[]).expect("settings");
    assert_eq!(loaded.settings.raw("my.limit"), Some("5"));
    assert_eq!(loaded.settings.raw("my.other"), Some("5x"));
    assert_eq!(loaded.settings.raw("my.third"), None);
    assert_eq!(loaded.settings.raw("server.port"), Some("8848"));
    assert_eq!(loaded.settings.raw("nacos.server.main.port"), Some("8848"));
    assert!(loaded.settings.print().contains("# Extensions\n* my.limit"));
    assert_eq!(loaded.warnings, ["unknown option my.other (file conf/application.properties line 1)"]);
    let error = with(&[], &[("my.limit", "10")]).expect_err("out of bounds").to_string();
    assert_eq!(error, "my.limit=10 (--set): expected a whole number from 1 to 9");
    let twice = OptionSpec::new("server.port", Kind::Bool, "", "A name that is taken.");
    let error = Settings::load(SettingsInput { extra: vec![twice], ..SettingsInput::default() });
    assert!(error.expect_err("a name twice").to_string().contains("server.port is there twice"));
}

#[test]
fn home_is_known_before_the_file() {
    let mut from = input("nacos.home=/file", &[("NACOS_HOME", "/env")], &[]);
    let home = |from: &SettingsInput| Settings::home_before_file(from).expect("a folder");
    assert_eq!(home(&from), PathBuf::from("/env"));
    from.flags = vec![Flag { flag: "--data-dir".into(), option: "nacos.home".into(), value: "${HOME}/n".into() }];
    from.env.push(("HOME".into(), "/h".into()));
    assert_eq!(home(&from), PathBuf::from("/h/n"));
    assert_eq!(home(&input("nacos.home=/file", &[], &[])), PathBuf::from("./data"));
}

#[test]
fn splitting_set() {
    assert_eq!(split_set("a.b = c=d"), Ok(("a.b".into(), " c=d".into())));
    assert!(split_set("a.b").is_err() && split_set("=c").is_err());
}

#[test]
fn printed_settings_are_aligned_and_in_the_table_s_order() {
    let printed = Settings::defaults().expect("the defaults").print();
    let lines: Vec<&str> = printed.lines().filter(|line| line.contains(" = ")).collect();
    let specs: Vec<&OptionSpec> = table::all().collect();
    assert_eq!(lines.len(), specs.len());
    let column = lines[0].find(" = ");
    for (line, spec) in lines.iter().zip(specs) {
        assert!(line.starts_with(&format!("  {} ", spec.name)), "{line}");
        assert_eq!(line.find(" = "), column, "{line}");
    }
}

#[test]
fn the_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, markdown()).expect("docs/settings.md written");
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == markdown(), "docs/settings.md is stale: UPDATE_DOCS=1 cargo test -p nacos-core --lib settings");
}

/// Names of options and of nothing, and values right and wrong.
fn any_pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    let known: Vec<String> = table::all().flat_map(|spec| [spec.name.to_owned(), names::upper(spec.name)]).collect();
    let name = prop_oneof![prop::sample::select(known), "[a-zA-Z._\\[\\]0-9-]{0,20}", ".{0,8}"];
    let value = prop_oneof![
        "[0-9]{1,20}(ms|s|MB|d)?",
        "(true|false|file|::1|/x|é)?",
        "[${}:a-c.]{0,12}",
        ".{0,12}",
        Just("${server.port}".to_owned()),
        Just("${NACOS_HOME:${nacos.logs.path}}".to_owned()),
    ];
    prop::collection::vec((name, value), 0..6)
}

proptest! {
    // Each case reads all options; most of the breadth is in `properties` and `placeholder`.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_is_set_makes_loading_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        file in any_pairs(),
        env in any_pairs(),
        set in any_pairs(),
    ) {
        let mut text: Vec<u8> = file.iter().flat_map(|(name, value)| format!("{name}={value}\n").into_bytes()).collect();
        text.extend(bytes);
        let file = Some(SettingsFile { name: "f".into(), bytes: text });
        if let Ok(loaded) = Settings::load(SettingsInput { file, env, set, ..SettingsInput::default() }) {
            prop_assert!(loaded.settings.print().lines().count() > table::all().count());
        }
    }

    #[test]
    fn the_last_layer_that_sets_an_option_wins(layers in prop::array::uniform4(prop::option::of(1_u16..))) {
        let text = |layer: usize| layers[layer].map(|port| port.to_string());
        let mut from = input(&text(0).map(|port| format!("server.port = {port}")).unwrap_or_default(), &[], &[]);
        from.env.extend(text(1).map(|port| ("NACOS_APPLICATION_PORT".to_owned(), port)));
        from.set.extend(text(2).map(|port| ("server.port".to_owned(), port)));
        from.flags.extend(text(3).map(|value| Flag { flag: "--port".into(), option: "server.port".into(), value }));
        let expected = layers.iter().rev().find_map(|port| *port).unwrap_or(8848);
        prop_assert_eq!(Settings::load(from).expect("settings").settings.server.port, expected);
    }
}
