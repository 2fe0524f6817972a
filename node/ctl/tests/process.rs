//! Commands as processes: exact bytes on stdout, exit codes, closed pipes, Ctrl-C. The nodes are scripted.
//!
//! This executable is `meridian` when it is told to by [`AS_CLI`], and the test otherwise.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[allow(dead_code)]
#[path = "../../client/tests/cluster/fake.rs"]
mod fake;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, ExitCode, Output, Stdio};

use clap::Parser;
use fake::{Act, Node, nobody, pushed, stale};
use meridian_client::Endpoint;
use meridian_ctl::exit;
use tonic::Status;

const AS_CLI: &str = "MERIDIAN_TEST_AS_CLI";

#[derive(Parser)]
#[command(name = "meridian")]
struct Cli {
    #[command(flatten)]
    global: meridian_ctl::Global,
    #[command(subcommand)]
    command: meridian_ctl::Command,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if std::env::var_os(AS_CLI).is_some() {
        let Cli { global, command } = Cli::parse();
        return runtime.block_on(meridian_ctl::run(global, command));
    }
    get_prints_the_document_alone(&runtime);
    a_reader_that_goes_away_is_no_failure(&runtime);
    each_failure_has_its_exit_code(&runtime);
    errors_are_json_where_asked(&runtime);
    what_is_not_well_is_shown_and_has_a_number(&runtime);
    an_unknown_outcome_says_how_to_ask(&runtime);
    a_document_comes_from_stdin(&runtime);
    a_new_secret_is_alone_on_stdout(&runtime);
    watch_counts_and_reconnects(&runtime);
    ctrl_c_ends_a_watch_well(&runtime);
    watch_gives_up_where_nobody_is(&runtime);
    println!("process: all passed");
    ExitCode::SUCCESS
}

/// `meridian LINE` at this endpoint.
fn meridian(endpoint: &Endpoint, line: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(AS_CLI, "1").env("MERIDIAN_ENDPOINTS", endpoint.to_string()).env("MERIDIAN_TOKEN", "t");
    command.args(line.split(' ')).args(["--deadline", "900ms"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(endpoint: &Endpoint, line: &str) -> Output {
    meridian(endpoint, line).spawn().unwrap().wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_exit(output: &Output, code: u8) {
    assert_eq!(output.status.code(), Some(code.into()), "stderr: {}", text(&output.stderr));
}

fn get_prints_the_document_alone(runtime: &tokio::runtime::Runtime) {
    let node = runtime.block_on(Node::start(Act::Serve));
    node.serves(1, vec![b'x'; 5 << 20]);
    let output = output(&node.endpoint, "get shop/live");
    assert_exit(&output, exit::OK);
    assert_eq!(output.stdout, vec![b'x'; 5 << 20]);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

fn a_reader_that_goes_away_is_no_failure(runtime: &tokio::runtime::Runtime) {
    let node = runtime.block_on(Node::start(Act::Serve));
    node.serves(1, vec![b'x'; 5 << 20]);
    for line in ["get shop/live", "get shop/live --output json"] {
        let mut child = meridian(&node.endpoint, line).spawn().unwrap();
        let mut first = [0; 10];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_exit(&output, exit::OK);
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
}

fn each_failure_has_its_exit_code(runtime: &tokio::runtime::Runtime) {
    let publish = "publish shop/live - --format json";
    for (act, line, code) in [
        (Act::Serve, "get shop", exit::USAGE),
        (Act::Say(Status::not_found("no such environment")), "get shop/live", exit::NOT_FOUND),
        (Act::Say(Status::unauthenticated("no token")), "status", exit::NOT_ALLOWED),
        (Act::Say(Status::permission_denied("not yours")), "status", exit::NOT_ALLOWED),
        (Act::Say(Status::already_exists("shop exists")), "project create shop", exit::FAILED),
        (Act::Follow(None), publish, exit::UNAVAILABLE),
        (Act::Hang, publish, exit::OUTCOME_UNKNOWN),
        (Act::Serve, "publish shop/live absent.json --format json", exit::FAILED),
        (Act::Serve, publish, exit::OK),
        (Act::Say(stale(4)), "get shop/live --max-staleness 1s", exit::STALE),
        (Act::Hang, "member promote 4 5", exit::OUTCOME_UNKNOWN),
        (Act::Hang, "leader transfer", exit::OUTCOME_UNKNOWN),
        (Act::Hang, "placement set a,b", exit::UNAVAILABLE),
        // It knows of no nodes: nobody leads, none is drained.
        (Act::Serve, "leader show", exit::UNHEALTHY),
        (Act::Serve, "drain 1 --timeout 400ms", exit::NOT_IN_TIME),
        (Act::Serve, "drain 1 --no-wait", exit::OK),
        (Act::Serve, "placement set a,b", exit::OK),
        (Act::Serve, "member remove 4 --dry-run", exit::OK),
        (Act::Serve, "journal", exit::OK),
        (Act::Serve, "outcome 00000000-0000-4000-8000-000000000001", exit::OK),
    ] {
        let node = runtime.block_on(Node::start(act));
        let output = output(&node.endpoint, line);
        assert_exit(&output, code);
        assert_eq!(text(&output.stderr).contains("error: "), code != exit::OK, "{}", text(&output.stderr));
        assert_eq!(output.stdout.is_empty(), code != exit::OK, "{}", text(&output.stdout));
    }
    let output = output(&runtime.block_on(nobody()), "project list");
    assert_exit(&output, exit::UNAVAILABLE);
    assert!(text(&output.stderr).contains("\nhint: "), "{}", text(&output.stderr));
}

fn errors_are_json_where_asked(runtime: &tokio::runtime::Runtime) {
    let node = runtime.block_on(Node::start(Act::Say(Status::not_found("no such environment"))));
    let output = output(&node.endpoint, "get shop/live --output json");
    assert_exit(&output, exit::NOT_FOUND);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "not_found");
    assert_eq!(error["error"]["message"], "no such environment");
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

fn what_is_not_well_is_shown_and_has_a_number(runtime: &tokio::runtime::Runtime) {
    let node = runtime.block_on(Node::start(Act::Serve));
    for (line, code) in [
        ("status", exit::OK),
        ("status --check", exit::UNHEALTHY),
        ("status --wait healthy --timeout 500ms", exit::NOT_IN_TIME),
    ] {
        let output = output(&node.endpoint, line);
        assert_exit(&output, code);
        assert!(text(&output.stdout).contains("answered by node"), "{}", text(&output.stdout));
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
    node.will(Act::Say(Status::permission_denied("not yours")));
    let refused = output(&node.endpoint, "status --wait healthy --timeout 20s");
    assert_exit(&refused, exit::NOT_ALLOWED);
    let nobody = runtime.block_on(nobody());
    let output = output(&nobody, "status");
    assert_exit(&output, exit::UNAVAILABLE);
    assert!(text(&output.stderr).contains(&nobody.to_string()), "{}", text(&output.stderr));
}

fn an_unknown_outcome_says_how_to_ask(runtime: &tokio::runtime::Runtime) {
    let node = runtime.block_on(Node::start(Act::Hang));
    let output = output(&node.endpoint, "project create shop --output json");
    assert_exit(&output, exit::OUTCOME_UNKNOWN);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let id = error["error"]["request_id"].as_str().unwrap();
    let hint = error["error"]["hint"].as_str().unwrap();
    assert!(hint.contains(&format!("`meridian outcome {id}`")), "{hint}");
}

fn a_document_comes_from_stdin(runtime: &tokio::runtime::Runtime) {
    let node = runtime.block_on(Node::start(Act::Serve));
    let mut child =
        meridian(&node.endpoint, "publish shop/live - --format json --output json").spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, exit::OK);
    let published: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(published["version"], 1);
    assert_eq!(node.asked().len(), 1);
}

fn a_new_secret_is_alone_on_stdout(runtime: &tokio::runtime::Runtime) {
    let node = runtime.block_on(Node::start(Act::Serve));
    let output = output(&node.endpoint, "key create shop/live --label web");
    assert_exit(&output, exit::OK);
    let secret = text(&output.stdout).strip_suffix('\n').unwrap();
    assert!(secret.starts_with("sdk-") && secret.len() == 36, "{secret}");
    assert!(!text(&output.stderr).contains(secret));
}

fn watch_counts_and_reconnects(runtime: &tokio::runtime::Runtime) {
    let node = runtime.block_on(Node::start(Act::Serve));
    for versions in [[1, 2], [2, 3]] {
        let stream = node.next_stream();
        for version in versions {
            runtime.block_on(stream.send(pushed(version))).unwrap();
        }
    }
    let output = output(&node.endpoint, "watch shop/live --count 3 --output json");
    assert_exit(&output, exit::OK);
    let lines =
        text(&output.stdout).lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert_eq!(lines.map(|line| line["version"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(node.since(), [0, 2]);
}

fn ctrl_c_ends_a_watch_well(runtime: &tokio::runtime::Runtime) {
    let node = runtime.block_on(Node::start(Act::Serve));
    let stream = node.next_stream();
    runtime.block_on(stream.send(pushed(1))).unwrap();
    let mut child: Child = meridian(&node.endpoint, "watch shop/live").spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("version 1 "), "{line}");
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_exit(&child.wait_with_output().unwrap(), exit::OK);
}

fn watch_gives_up_where_nobody_is(runtime: &tokio::runtime::Runtime) {
    let output = output(&runtime.block_on(nobody()), "watch shop/live");
    assert_exit(&output, exit::UNAVAILABLE);
    assert!(text(&output.stderr).contains("cannot connect"), "{}", text(&output.stderr));
}
