//! What bad input gets: a clear error that names the thing and the way out; nothing applied in part; no panic; and a
//! node that goes on serving others.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use meridian_proto::admin::{CreateEnvironmentRequest, CreateProjectRequest, PublishRequest};
use meridian_proto::config::Format;
use rustix::process::geteuid;
use serde_json::json;
use tonic::{Code, Status};

use super::support::{
    Cluster, Handmade, SOON, admin, bearer, eventually, file, gates, http_get, meridian, send_garbage, shared,
};

/// Largest document.
const DOCUMENT_BYTES: usize = 4_190_000;

/// A status is text for people: it must not be as large as what it complains about.
const MESSAGE_BYTES: usize = 1_000;

/// An environment with one release that must stay the newest.
struct Untouched<'a> {
    cluster: &'a Cluster,
    environment: String,
}

impl<'a> Untouched<'a> {
    fn new(project: &str) -> Untouched<'a> {
        let cluster = shared();
        let environment = cluster.environment(project);
        let good = file(gates(&[("checkout", true)]));
        cluster
            .meridian(&["publish", &environment, good.path().to_str().unwrap(), "--format", "statsig"])
            .ok();
        Self { cluster, environment }
    }

    /// Publishing this is refused with each of these told, and leaves no trace.
    fn refuses(&self, format: &str, document: impl AsRef<[u8]>, parts: &[&str]) {
        let file = file(document);
        let path = file.path().to_str().unwrap();
        self.cluster.meridian(&["publish", &self.environment, path, "--format", format]).fails(5, parts);
        assert_eq!(self.cluster.version(&self.environment), 1);
    }
}

#[test]
fn invalid_json() {
    let environment = Untouched::new("invalid-json");
    for format in ["json", "statsig", "flagd"] {
        environment.refuses(format, r#"{"a": 1,"#, &["json", "$"]);
        environment.refuses(format, "", &["json"]);
        environment.refuses(format, b"\xff\xfe{}", &["json"]);
    }
}

#[test]
fn a_malformed_spec() {
    let environment = Untouched::new("malformed-spec");
    let good = gates(&[("checkout", true)]);
    let broken = |from: &str, to: &str| {
        let broken = good.replacen(from, to, 1);
        assert_ne!(broken, good, "{from} is not in the document");
        broken
    };
    environment.refuses(
        "statsig",
        broken(r#""rules""#, r#""rulez""#),
        &["$.feature_gates.checkout", "rules"],
    );
    environment.refuses("statsig", broken(r#"["everyone"]"#, r#"["nobody"]"#), &["nobody"]);
    environment.refuses("statsig", broken(r#""condition_map""#, r#""conditions""#), &["condition_map"]);
    environment.refuses("flagd", r#"{"flags": {"a": {"state": "ENABLED"}}}"#, &["variants"]);
    environment.refuses("flagd", "{}", &["flags"]);
}

#[tokio::test]
async fn a_document_over_the_limit() {
    let environment = Untouched::new("too-large");
    let padded = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    environment.refuses("json", padded(DOCUMENT_BYTES + 1), &["4190000 bytes"]);

    // The command looks by itself; so does the node.
    let (project, name) = environment.environment.split_once('/').unwrap();
    let publish = |bytes: usize| PublishRequest {
        project: project.to_owned(),
        environment: name.to_owned(),
        format: Format::Json.into(),
        document: padded(bytes).into(),
        ..Default::default()
    };
    let cluster = environment.cluster;
    let mut admin = admin(cluster.solo()).await;
    for bytes in [DOCUMENT_BYTES + 1, 7 << 20, 9 << 20] {
        let refused = admin.publish(bearer(&cluster.operator_token, publish(bytes))).await.unwrap_err();
        assert!([Code::InvalidArgument, Code::OutOfRange].contains(&refused.code()), "{bytes}: {refused:?}");
        assert!(refused.message().len() < MESSAGE_BYTES);
        assert_eq!(cluster.version(&environment.environment), 1);
    }
    let taken = admin.publish(bearer(&cluster.operator_token, publish(DOCUMENT_BYTES))).await;
    assert_eq!(taken.unwrap().into_inner().release.unwrap().version, 2);
}

#[tokio::test]
async fn an_unknown_format() {
    let environment = Untouched::new("unknown-format");
    let cluster = environment.cluster;
    let file = file("{}");
    let line = ["publish", &environment.environment, file.path().to_str().unwrap(), "--format", "yaml"];
    cluster.meridian(&line).fails(2, &["yaml", "json, statsig, flagd"]);

    let (project, name) = environment.environment.split_once('/').unwrap();
    let mut admin = admin(cluster.solo()).await;
    for format in [0, 99, -1] {
        let request = PublishRequest {
            project: project.to_owned(),
            environment: name.to_owned(),
            format,
            document: "{}".into(),
            ..Default::default()
        };
        let refused = admin.publish(bearer(&cluster.operator_token, request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains("format"), "{refused:?}");
    }
    assert_eq!(cluster.version(&environment.environment), 1);
}

#[test]
fn what_does_not_exist() {
    let environment = Untouched::new("unknown-things");
    let file = file("{}");
    let path = file.path().to_str().unwrap();
    let check = |line: &[&str], parts: &[&str]| {
        environment.cluster.meridian(line).fails(3, &[parts, &["hint:"]].concat());
    };
    check(&["publish", "nowhere/live", path, "--format", "json"], &["nowhere"]);
    check(&["publish", "unknown-things/nowhere", path, "--format", "json"], &["unknown-things/nowhere"]);
    check(&["env", "create", "nowhere/live"], &["nowhere"]);
    check(&["key", "create", "unknown-things/nowhere"], &["unknown-things/nowhere"]);
    check(&["key", "revoke", "0123456789abcdef"], &["0123456789abcdef"]);
    check(&["get", "nowhere/live"], &["nowhere"]);
    check(&["get", &environment.environment, "--version", "9"], &["version 9"]);
    check(&["rollback", &environment.environment, "--to", "9"], &["version 9"]);
    check(&["history", "nowhere/live"], &["nowhere"]);
    assert_eq!(environment.cluster.version(&environment.environment), 1);
}

#[test]
fn a_wrong_expected_version() {
    let environment = Untouched::new("conflict");
    let file = file("{}");
    for expected in ["0", "2", "18446744073709551615"] {
        let path = file.path().to_str().unwrap();
        let line =
            ["publish", &environment.environment, path, "--format", "json", "--expect-version", expected];
        environment.cluster.meridian(&line).fails(4, &["version 1", "--expect-version 1"]);
    }
    assert_eq!(environment.cluster.version(&environment.environment), 1);
}

#[tokio::test]
async fn names_that_are_none() {
    let cluster = shared();
    let mut admin = admin(cluster.solo()).await;
    let check = |refused: Status| {
        // Past a message's own limit the name is never looked at.
        assert!([Code::InvalidArgument, Code::OutOfRange].contains(&refused.code()), "{refused:?}");
        assert!(refused.message().len() < MESSAGE_BYTES, "{} bytes", refused.message().len());
        assert!(!refused.message().contains('\0'), "{refused:?}");
    };
    for name in ["", "nul\0byte", "UPPER", "two words", "../up", "ä", &"x".repeat(65), &"x".repeat(10 << 20)]
    {
        let request = CreateProjectRequest { project: name.to_owned(), ..Default::default() };
        check(admin.create_project(bearer(&cluster.operator_token, request)).await.unwrap_err());
        let request = CreateEnvironmentRequest {
            project: "demo".to_owned(),
            environment: name.to_owned(),
            ..Default::default()
        };
        check(admin.create_environment(bearer(&cluster.operator_token, request)).await.unwrap_err());
    }
    let after = cluster.meridian(&["project", "list"]).ok();
    for absent in ["nul", "UPPER", "two words", "xxxxx"] {
        assert!(!after.contains(absent), "{after}");
    }
}

#[test]
fn an_unknown_configuration_field() {
    let node = &Handmade::new(1).nodes[0];
    let text = fs::read_to_string(&node.config).unwrap();
    fs::write(&node.config, format!("heartbeet_ms = 5\n{text}")).unwrap();
    let (code, said) = node.start_in_vain();
    assert_ne!(code, 0);
    assert!(said.contains("heartbeet_ms") && said.contains(node.config.to_str().unwrap()), "{said}");
    assert!(!node.data_dir.exists(), "it went on all the same");

    let ran = meridian(&["check-config", node.config.to_str().unwrap()]);
    assert_ne!(ran.code, 0);
    assert!((ran.stdout + &ran.stderr).contains("heartbeet_ms"));
}

#[test]
fn a_port_in_use() {
    let node = &Handmade::new(1).nodes[0];
    for (key, address) in [
        ("grpc", node.listen.grpc),
        ("peer", node.listen.peer),
        ("http", node.listen.http),
        ("admin", node.listen.admin),
    ] {
        let _held = TcpListener::bind(address).unwrap();
        let (code, said) = node.start_in_vain();
        assert_ne!(code, 0);
        assert!(said.contains(&address.to_string()) && said.contains(key), "{said}");
    }
}

#[test]
fn a_data_directory_that_cannot_be_used() {
    let node = &Handmade::new(1).nodes[0];
    fs::write(&node.data_dir, "not a directory").unwrap();
    let (code, said) = node.start_in_vain();
    assert_ne!(code, 0);
    assert!(said.contains(node.data_dir.to_str().unwrap()) && said.contains("not a directory"), "{said}");

    if geteuid().is_root() {
        println!("SKIPPED: a directory without permissions: root reads it all the same");
        return;
    }
    fs::remove_file(&node.data_dir).unwrap();
    fs::create_dir(&node.data_dir).unwrap();
    fs::set_permissions(&node.data_dir, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let (code, said) = node.start_in_vain();
    assert_ne!(code, 0);
    assert!(said.contains(node.data_dir.to_str().unwrap()) && said.contains("ermission"), "{said}");
}

#[test]
fn a_damaged_log_is_refused_and_left_as_it_is() {
    let (cluster, _) = stopped_with_data();
    let node = &cluster.nodes[0];
    let log = largest_file(&node.data_dir.join("group-1/log"));
    let damaged = damage(&log);
    let (code, said) = node.start_in_vain();
    assert_ne!(code, 0);
    assert!(said.contains("damaged") && said.contains("group-1/log"), "{said}");
    assert!(said.contains("new node id"), "the way out is missing: {said}");
    assert_eq!(fs::read(&log).unwrap(), damaged, "the log was changed");
}

#[test]
fn a_damaged_catalog_is_rebuilt() {
    let (mut cluster, document) = stopped_with_data();
    let node = &mut cluster.nodes[0];
    let catalog = node.data_dir.join("group-1/catalog");
    let is_set_aside = |path: &PathBuf| path.to_string_lossy().contains("/damaged-");
    for part in ["db", "snap.", "conf"] {
        let is_part = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(part);
        let in_use = |path: &PathBuf| is_part(path) && !is_set_aside(path);
        let damaged =
            files(&catalog).into_iter().find(in_use).unwrap_or_else(|| panic!("no {part} to damage"));
        damage(&damaged);
        node.start();
        node.wait_ready();
        assert_eq!(node.meridian(&["get", "shop/live"]).ok(), document, "{part}");
        assert_eq!(node.meridian(&["get", "shop/live", "--version", "1"]).ok(), numbered(1), "{part}");
        // Ready before it leads: reads wait for nobody.
        eventually("the node leads itself", SOON, || {
            let status = node.meridian(&["status", "--output", "json"]).json();
            (status["nodes"][0]["healthy"] == true).then_some(())
        });
        assert_eq!(node.stop().code(), Some(0), "{part}");
    }
    // The engine mends some damage by forgetting the newest rows, which the log then brings again; not all of it.
    assert!(files(&catalog).iter().any(is_set_aside), "no damage was ever noticed");
}

/// A node that was stopped after some releases, and the newest document.
fn stopped_with_data() -> (Handmade, String) {
    let mut cluster = Handmade::new(1).start();
    cluster.meridian(&["project", "create", "shop"]).ok();
    cluster.meridian(&["env", "create", "shop/live"]).ok();
    for release in 1..=5 {
        let file = file(numbered(release));
        cluster.meridian(&["publish", "shop/live", file.path().to_str().unwrap(), "--format", "json"]).ok();
    }
    assert_eq!(cluster.nodes[0].stop().code(), Some(0));
    (cluster, numbered(5))
}

fn numbered(release: usize) -> String {
    json!({"release": release, "text": "some more words ".repeat(release)}).to_string()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn largest_file(directory: &Path) -> PathBuf {
    files(directory).into_iter().max_by_key(|path| path.metadata().unwrap().len()).expect("there are files")
}

/// Changes a byte here and there, and gives what the file holds then. One place alone may hold nothing that is still
/// in use: these files are written from front to back, and the newest counts.
fn damage(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("something was written");
    for byte in bytes[..written].iter_mut().skip(written / 4).step_by(64) {
        *byte = !*byte;
    }
    fs::write(path, &bytes).unwrap();
    bytes
}

#[test]
fn a_peer_of_another_cluster() {
    let home = Handmade::new(1).start();
    home.meridian(&["project", "create", "shop"]).ok();
    let mut stranger = Handmade::of_cluster("other", 1, &[home.nodes[0].listen]);
    let node = &mut stranger.nodes[0];
    node.start();
    eventually("the stranger says that it belongs nowhere", SOON, || {
        node.http("/readyz").filter(|(status, why)| *status == 503 && why.contains("belongs to cluster"))
    });
    let said = node.kill_and_read();
    assert!(said.contains("belongs to cluster \"acme\"") && said.contains("\"other\""), "{said}");
    let nodes = home.status();
    assert_eq!((nodes.len(), &nodes[0]["healthy"]), (1, &json!(true)));
    home.meridian(&["env", "create", "shop/live"]).ok();
}

#[test]
fn garbage_on_every_port() {
    let cluster = shared();
    let grpc = cluster.solo();
    let (host, port) = grpc.rsplit_once(':').unwrap();
    let peer = format!("{host}:{}", port.parse::<u16>().unwrap() + 1);
    let (http, admin) = (&cluster.http["solo"], &cluster.admin["solo"]);
    let noise: Vec<u8> = (0..65_536_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for garbage in [
        noise.clone(),
        vec![0; 65_536],
        [&preface[..], &noise].concat(),
        // A settings frame that claims to be 16 MB long.
        [&preface[..], &[0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0]].concat(),
        b"GET /\0 HTTP/9.9\r\n\r\n".to_vec(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)).into_bytes(),
        // A TLS client's first bytes.
        [&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01][..], &noise[..512]].concat(),
    ] {
        for address in [grpc, &peer, http, admin] {
            send_garbage(address, &garbage);
        }
        assert_eq!(http_get(admin, "/readyz").unwrap().0, 200);
    }
    cluster.meridian(&["get", "demo/production"]).ok();
    let log = fs::read_to_string(Path::new(&cluster.data_dir).join("solo.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
