//! Configurations that are refused, warned about and merged; each case is one line of difference to a good one.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;

use super::*;

const GOOD: &str = r#"
cluster_id = "acme"
node_id = 1
region = "us-east"
zone = "us-east-a"
data_dir = "/var/lib/meridian"
[auth]
operator_token_sha256 = ["0000000000000000000000000000000000000000000000000000000000000000"]
[[founders]]
node_id = 1
region = "us-east"
zone = "us-east-a"
peer = "127.0.0.1:7401"
grpc = "127.0.0.1:7400"
[[founders]]
node_id = 2
region = "eu-west"
zone = "eu-west-a"
peer = "eu.example:7401"
grpc = "eu.example:7400"
[[founders]]
node_id = 3
region = "ap-south"
zone = "ap-south-a"
peer = "[2001:db8::1]:7401"
grpc = "[2001:db8::1]:7400"
"#;

fn load_with(
    file: &str,
    suffix: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded, Invalid> {
    let mut written = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
    written.write_all(file.as_bytes()).unwrap();
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    load(Sources { file: written.path().to_owned(), environment: owned(environment), flags: owned(flags) })
}

/// The good file with flags that change it.
fn with_flags(flags: &[(&str, &str)]) -> Result<Loaded, Invalid> {
    load_with(GOOD, ".toml", &[], flags)
}

fn problems(loaded: Result<Loaded, Invalid>) -> Vec<String> {
    loaded.map(|_| ()).unwrap_err().problems.iter().map(Problem::to_string).collect()
}

#[test]
fn a_good_file_is_taken_as_it_is() {
    let Loaded { config, settings, warnings } = with_flags(&[]).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((config.node_id, config.region.as_str()), (1, "us-east"));
    assert_eq!(config.listen.admin, "127.0.0.1:7403".parse().unwrap());
    assert_eq!(config.timing, Timing::default());
    assert_eq!(config.founders.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(config.founders[&3].peer.to_string(), "[2001:db8::1]:7401");
    assert_eq!(config.operator_token_hashes, [[0; 32]]);
    assert!(settings.iter().any(|setting| setting.key == "founders[2].zone" && setting.origin.is_some()));
    assert!(settings.iter().any(|setting| setting.key == "log.level" && setting.origin.is_none()));
}

#[test]
fn json_says_the_same_as_toml() {
    let toml: serde_json::Value = toml::from_str(GOOD).unwrap();
    for suffix in [".json", ".conf", ""] {
        let json = load_with(&toml.to_string(), suffix, &[], &[]).unwrap();
        assert_eq!(json.config.founders[&2].grpc.to_string(), "eu.example:7400");
    }
}

#[test]
fn flags_beat_the_environment_and_that_beats_the_file() {
    let environment = [
        ("MERIDIAN_NODE_ID", "2"),
        ("MERIDIAN_REGION", "eu-west"),
        ("MERIDIAN_ZONE", "eu-west-a"),
        ("MERIDIAN_LISTEN__GRPC", "127.0.0.1:1"),
        ("MERIDIAN_LISTEN__HTTP", "127.0.0.1:2"),
        ("MERIDIAN_RAFT__HEARTBEAT_INTERVAL_MS", "100"),
        ("MERIDIAN_INSECURE", "true"),
        ("MERIDIAN_AUTH__OPERATOR_TOKEN_SHA256", &format!("{},{}", "1".repeat(64), "2".repeat(64))),
        // None of these is configuration.
        ("MERIDIAN_ENDPOINTS", "a:1"),
        ("MERIDIAN_TOKEN", "secret"),
        ("MERIDIAN_SERVICE_HOST", "10.0.0.1"),
        ("MERIDIAN_PEER_PORT_7401_TCP", "tcp://10.0.0.1:7401"),
        ("HOME", "/root"),
    ];
    let loaded = load_with(GOOD, ".toml", &environment, &[("listen.grpc", "127.0.0.1:3")]).unwrap();
    let config = &loaded.config;
    assert_eq!((config.node_id, config.insecure, config.timing.heartbeat_interval_ms), (2, true, 100));
    assert_eq!((config.listen.grpc.port(), config.listen.http.port()), (3, 2));
    assert_eq!(config.operator_token_hashes, [[0x11; 32], [0x22; 32]]);
    let origin =
        |key: &str| loaded.settings.iter().find(|setting| setting.key == key).unwrap().origin.clone();
    assert_eq!(origin("listen.grpc").as_deref(), Some("--set listen.grpc"));
    assert_eq!(origin("listen.http").as_deref(), Some("MERIDIAN_LISTEN__HTTP"));
    assert!(origin("cluster_id").unwrap().ends_with(".toml"));
    assert_eq!(origin("listen.peer"), None);
}

#[test]
fn founders_can_come_from_the_environment() {
    let founders = r#"[{node_id=1,region="us-east",zone="us-east-a",peer="a:1",grpc="a:2"}]"#;
    let loaded = load_with(GOOD, ".toml", &[("MERIDIAN_FOUNDERS", founders)], &[]).unwrap();
    assert_eq!(loaded.config.founders.len(), 1);
}

/// One setting, and what its refusal says.
fn refused(key: &str, value: &str, expected: &str) {
    let problems = problems(with_flags(&[(key, value)]));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].starts_with(&format!("{key} ")), "{problems:?} does not begin with {key}");
    assert!(problems[0].contains(&format!("(from --set {key})")), "{problems:?}");
    assert!(problems[0].contains(expected), "{problems:?} does not say {expected:?}");
}

#[test]
fn each_bad_value_is_named_with_the_way_out() {
    refused("cluster_id", "A b", "is not a name");
    refused("cluster_id", "", "is not a name");
    refused("node_id", "one", "whole number");
    refused("node_id", "-1", "whole number");
    refused("node_id", "9", "not among the founders");
    refused("role", "leader", "write voter or learner");
    refused("role", "learner", "founders are the first voters");
    refused("advertise.grpc", "a", "is not host:port");
    refused("advertise.grpc", "0.0.0.0:7400", "cannot be dialled");
    refused("advertise.peer", "a:7401", "is not what founders says of this node (127.0.0.1:7401)");
    refused("join.seeds", "a", "write host:port of the peer listener");
    refused("join.seeds", "a:1,0.0.0.0:1", "others can dial");
    refused("join.token_sha256", "abc", "never the token itself");
    refused("join.token_file", "/nowhere/token", "cannot be read");
    refused("freshness.degraded_after_ms", "999", "must be 1000 to 86400000 milliseconds");
    refused("freshness.degraded_after_ms", "5 s", "whole number");
    refused("freshness.bound_ms", "999", "must be 1000 to");
    refused("freshness.bound_ms", "4999", "at least freshness.degraded_after_ms (5000)");
    refused("drain.window_ms", "600001", "must be 0 to 600000 milliseconds");
    refused("backup.interval_ms", "999", "must be ");
    refused("backup.keep", "0", "must be 1 to 10000 backups");
    refused("backup.url", "nowhere", "is no URL");
    refused("backup.url", "s3://key:secret@bucket", "credentials belong into the environment");
    refused("region", "eu-west", "is not what founders says of node 1 (\"us-east\")");
    refused("zone", "us-east-b", "is not what founders says");
    refused("data_dir", "", "is empty");
    refused("insecure", "maybe", "neither true nor false");
    refused("listen.grpc", "localhost:7400", "is not ip:port");
    refused("listen.grpc", "127.0.0.1", "is not ip:port");
    refused("listen.grpc", "0.0.0.0:7400", "set insecure = true");
    refused("listen.admin", "[::]:7403", "set insecure = true");
    refused("listen.http", "127.0.0.1:7400", "is the address of listen.grpc too");
    refused("raft.heartbeat_interval_ms", "0", "must be 1 to 60000");
    refused("raft.election_timeout_min_ms", "149", "at least twice raft.heartbeat_interval_ms (75)");
    refused("raft.election_timeout_max_ms", "250", "above raft.election_timeout_min_ms (250)");
    refused("raft.profile", "moon", "write lan, default or wan");
    refused("log.format", "xml", "write text or json");
    refused("log.level", "a=b=c", "is no log filter");
    refused("listen.grcp", "127.0.0.1:1", "is an unknown key; known in listen: grpc, peer, http, admin");
    refused("nodeid", "1", "is an unknown key");
    refused("listen", "127.0.0.1:1", "is no table");
    refused("founders", "127.0.0.1:1", "is no list of tables");
    refused("founders", "[]", "is empty");
}

#[test]
fn what_could_be_a_token_is_not_shown() {
    let key = "auth.operator_token_sha256";
    for (value, expected) in [
        ("operator-verysecret", "never the token itself"),
        ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "an empty token"),
    ] {
        refused(key, value, expected);
        assert!(!problems(with_flags(&[(key, value)]))[0].contains(value));
    }
    let misplaced = problems(with_flags(&[("auth.token", "operator-verysecret")]));
    assert!(!misplaced[0].contains("verysecret"), "{misplaced:?}");
}

#[test]
fn a_join_token_is_not_shown() {
    for (value, expected) in [("short", "is no token"), ("a token with spaces", "is no token")] {
        refused("join.token", value, expected);
        assert!(!problems(with_flags(&[("join.token", value)]))[0].contains(value));
    }
    let token = "join-abcdefghijklmnop";
    let loaded = with_flags(&[("join.token", token)]);
    for shown in [explain(&loaded, false), explain(&loaded, true), format!("{:?}", loaded.unwrap().config)] {
        assert!(!shown.contains(token), "{shown}");
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{token}").unwrap();
    let path = file.path().to_str().unwrap();
    let joined = with_flags(&[("join.token_file", path)]).unwrap().config.join;
    assert_eq!(joined.token.unwrap().expose(), token);
    let both = problems(with_flags(&[("join.token_file", path), ("join.token", token)]));
    assert!(both[0].starts_with("join.token_file ") && both[0].contains("keep one"), "{both:?}");
}

/// A node that is in no list of founders.
const JOINER: &str = r#"
cluster_id = "acme"
node_id = 4
region = "us-west"
zone = "us-west-a"
role = "learner"
data_dir = "/var/lib/meridian"
[auth]
operator_token_sha256 = ["0000000000000000000000000000000000000000000000000000000000000000"]
[join]
seeds = ["eu.example:7401", "[2001:db8::1]:7401"]
token = "join-abcdefghijklmnop"
"#;

#[test]
fn a_node_may_join_what_exists() {
    let with = |flags: &[(&str, &str)]| load_with(JOINER, ".toml", &[], flags);
    let Loaded { config, warnings, .. } = with(&[]).unwrap();
    assert_eq!((warnings, config.role), (Vec::<String>::new(), Role::Learner));
    let options = config.replication();
    assert_eq!(options.join.seeds, ["eu.example:7401", "[2001:db8::1]:7401"]);
    assert_eq!(
        (options.join.token.as_deref(), options.join.wants_vote),
        (Some("join-abcdefghijklmnop"), false)
    );
    assert_eq!((options.own.peer_address.as_str(), options.founders.len()), ("127.0.0.1:7401", 0));
    assert!(with(&[("role", "voter")]).unwrap().config.replication().join.wants_vote);

    let everywhere = [("insecure", "true"), ("listen.grpc", "0.0.0.0:7400"), ("listen.peer", "[::]:7401")];
    let unknown = problems(with(&everywhere));
    assert_eq!(unknown.len(), 2, "{unknown:#?}");
    for (problem, name) in unknown.iter().zip(["grpc", "peer"]) {
        assert!(problem.starts_with(&format!("advertise.{name}: is missing: listen.{name} is")), "{problem}");
    }
    let told = [&everywhere[..], &[("advertise.grpc", "b:7400"), ("advertise.peer", "b:7401")]].concat();
    let own = with(&told).unwrap().config.replication().own;
    assert_eq!((own.grpc_address.as_str(), own.peer_address.as_str()), ("b:7400", "b:7401"));

    let alone = problems(with(&[("join.seeds", "")]));
    assert!(
        alone[0].starts_with("founders: is missing: list the first voters") && alone.len() == 1,
        "{alone:?}"
    );
    let silent = load_with(&JOINER.replace("token =", "# token ="), ".toml", &[], &[]).unwrap().warnings;
    assert!(silent[0].starts_with("join.token is not set") && silent.len() == 1, "{silent:?}");
}

/// The good file with one text replaced, and what its refusal says.
fn refused_file(from: &str, to: &str, expected: &str) {
    assert!(GOOD.contains(from), "{from:?} is not in the file");
    let problems = problems(load_with(&GOOD.replacen(from, to, 1), ".toml", &[], &[]));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains(expected), "{problems:?} does not say {expected:?}");
}

#[test]
fn each_bad_file_is_named_with_the_way_out() {
    refused_file(
        "cluster_id = \"acme\"",
        "",
        "cluster_id: is missing: add it to the file, or set MERIDIAN_CLUSTER_ID",
    );
    refused_file("node_id = 1\n", "node_id = \"1\"\n", "node_id = \"1\" (from ");
    refused_file("node_id = 1\n", "node_id = 1.5\n", "whole number");
    refused_file("region = \"us-east\"\n", "region = 7\n", "region = 7 (from ");
    refused_file("node_id = 2\n", "", "founders[1].node_id: is missing");
    refused_file("node_id = 2\n", "node_id = 0\n", "founders[1].node_id = 0");
    refused_file("node_id = 2\n", "node_id = 3\n", "founders[2].node_id = 3");
    refused_file("eu.example:7401", "eu.example:7400", "founders[1].grpc");
    refused_file("eu.example:7401", "0.0.0.0:7401", "cannot be dialled");
    refused_file("eu.example:7401", "eu.example", "is not host:port");
    refused_file("eu.example:7401", "http://eu.example:7401", "is not host:port");
    refused_file("node_id = 2\n", "node_id = 2\nweight = 2\n", "founders[1].weight (from ");
    refused_file("node_id = 1\n", "node_id = \n", "is not TOML: line 3:");
}

#[test]
fn all_problems_are_told_at_once() {
    let found = problems(with_flags(&[
        ("cluster_id", "A"),
        ("raft.heartbeat_interval_ms", "1000"),
        ("listen.grpc", "0.0.0.0:7400"),
        ("surprise", "1"),
        ("data_dir", ""),
    ]));
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let check = |path: &std::path::Path, expected: &str| {
        let sources = Sources { file: path.to_owned(), environment: Vec::new(), flags: Vec::new() };
        let problems = problems(load(sources));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with(&path.display().to_string()), "{problems:?}");
        assert!(problems[0].contains(expected), "{problems:?} does not say {expected:?}");
        assert!(!problems[0].contains('\n'), "{problems:?}");
    };
    check(&directory.path().join("none.toml"), "cannot be read");
    check(directory.path(), "cannot be read");
    for (name, content, expected) in [
        ("a.toml", &b"\x00\xff"[..], "cannot be read"),
        ("b.toml", b"[[[", "is not TOML: line 1"),
        ("c.json", b"[1]", "is not a JSON object"),
        ("d.json", b"{\"node_id\": 1,}", "line 1"),
        ("e.toml", &[b'#'; (1 << 20) + 1], "is over 1048576 bytes"),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        check(&path, expected);
    }
}

/// Changes to the good file, and how its only warning begins.
fn warned(changes: &[(&str, &str)], flags: &[(&str, &str)], expected: &str) {
    let file = changes.iter().fold(GOOD.to_owned(), |file, (from, to)| {
        assert!(file.contains(from), "{from:?} is not in the file");
        file.replacen(from, to, 1)
    });
    let warnings = load_with(&file, ".toml", &[], flags).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].starts_with(expected), "{warnings:?} does not begin with {expected:?}");
}

#[test]
fn what_is_seldom_meant_is_warned_about() {
    let third = &GOOD[GOOD.rfind("[[founders]]").unwrap()..];
    let last_two = &GOOD[GOOD.find("[[founders]]\nnode_id = 2").unwrap()..];
    warned(&[(third, "")], &[], "2 founders are an even number");
    warned(&[(last_two, "")], &[], "there is one founder");
    warned(&[("region = \"eu-west\"", "region = \"ap-south\"")], &[], "region ap-south holds 2 of 3 votes");
    warned(&[], &[("auth.operator_token_sha256", "")], "auth.operator_token_sha256 is empty");
    warned(&[], &[("insecure", "true")], "insecure = true");
    warned(&[], &[("data_dir", "data")], "data_dir \"data\" is relative");
    warned(&[], &[("listen.grpc", "127.0.0.1:7500")], "listen.grpc has port 7500");
    let same_zone = GOOD.replace("eu-west", "ap-south");
    let warnings = load_with(&same_zone, ".toml", &[], &[]).unwrap().warnings;
    assert!(
        warnings.iter().any(|warning| warning.starts_with("founders [2, 3] share zone ap-south-a")),
        "{warnings:?}"
    );
}

#[test]
fn the_explanation_has_every_setting_and_its_origin() {
    let loaded = load_with(GOOD, ".toml", &[("MERIDIAN_LOG__LEVEL", "debug")], &[]);
    let text = explain(&loaded, false);
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("log.level").ends_with("MERIDIAN_LOG__LEVEL"), "{text}");
    assert!(line("raft.heartbeat_interval_ms").ends_with("default"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&explain(&loaded, true)).unwrap();
    assert_eq!(json["valid"], true);
    assert_eq!(json["settings"]["node_id"]["value"], 1);
    assert_eq!(json["settings"]["listen.grpc"]["origin"], "default");
    assert_eq!(json["settings"].as_object().unwrap().len(), loaded.unwrap().settings.len());

    let refused = with_flags(&[("node_id", "x")]);
    let json: serde_json::Value = serde_json::from_str(&explain(&refused, true)).unwrap();
    assert_eq!((&json["valid"], &json["problems"][0]["key"]), (&false.into(), &"node_id".into()));
    assert_eq!(json["problems"][0]["value"], "\"x\"");
}

#[test]
fn a_profile_names_the_clocks_and_single_ones_beat_it() {
    let timing = |flags: &[(&str, &str)]| with_flags(flags).unwrap().config.timing;
    for profile in Profile::ALL {
        assert_eq!(timing(&[("raft.profile", profile.name())]), profile.timing());
    }
    let flags = [("raft.profile", "wan"), ("raft.heartbeat_interval_ms", "170")];
    assert_eq!(timing(&flags), Timing { heartbeat_interval_ms: 170, ..Profile::Wan.timing() });
    let mixed = problems(with_flags(&[("raft.profile", "lan"), ("raft.heartbeat_interval_ms", "75")]));
    assert!(mixed[0].contains("at least twice raft.heartbeat_interval_ms (75)"), "{mixed:?}");
}
