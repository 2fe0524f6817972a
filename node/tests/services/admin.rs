//! `AdminService`.

use meridian_proto::admin::*;
use meridian_proto::config::Format;
use tonic::{Code, Status};

use crate::node::{KEY, Node, bearing, operator, publish, refusal};

/// Repeats a change under one id.
const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

fn shop() -> String {
    "shop".to_owned()
}

fn live() -> String {
    "live".to_owned()
}

fn rollback(to_version: u64) -> RollbackRequest {
    RollbackRequest { project: shop(), environment: live(), to_version, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_are_let_in() {
    let node = Node::start().await;
    let mut admin = node.admin();
    let none = admin.list_projects(ListProjectsRequest {}).await.unwrap_err();
    assert_eq!(none.code(), Code::Unauthenticated);
    for (credential, says) in [("wrong", "not known"), (KEY, "sdk key")] {
        let refused = admin.list_projects(bearing(ListProjectsRequest {}, credential)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains(says), "{refused}");
        let refused = admin.publish(bearing(publish(Format::Json, "1"), credential)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_made_kept_and_brought_back() {
    let node = Node::start().await;
    let mut admin = node.admin();
    let request =
        PublishRequest { message: "why".to_owned(), expect_version: Some(0), ..publish(Format::Json, "1") };
    let answer = admin.publish(operator(request)).await.unwrap().into_inner();
    let first = answer.release.unwrap();
    assert_eq!((first.version, first.message.as_str(), first.rollback_of), (1, "why", 0));
    assert!(first.author.starts_with("operator-") && first.time_ms > 0 && answer.revision > 0);
    let second = node.publish(Format::Json, "2").await;

    let request = RollbackRequest { message: "oops".to_owned(), ..rollback(0) };
    let third = admin.rollback(operator(request)).await.unwrap().into_inner().release.unwrap();
    assert_eq!((third.version, third.rollback_of, third.message.as_str()), (3, 1, "oops"));
    assert_eq!((&third.digest, third.size_bytes), (&first.digest, 1));
    assert!(third.time_ms > second.time_ms);

    let list = ListReleasesRequest { project: shop(), environment: live(), limit: 2, before_version: 0 };
    let page = admin.list_releases(operator(list)).await.unwrap().into_inner();
    assert_eq!((page.releases, page.next_before_version), (vec![third.clone(), second], 2));
    for (version, expected) in [(0, Ok("1")), (1, Ok("1")), (2, Ok("2")), (4, Err(Code::NotFound))] {
        let request = GetReleaseRequest { project: shop(), environment: live(), version };
        let answer = admin.get_release(operator(request)).await;
        let document = answer.map(|answer| answer.into_inner().document).map_err(|status| status.code());
        assert_eq!(document, expected.map(Into::into), "version {version}");
    }
    let projects = admin.list_projects(operator(ListProjectsRequest {})).await.unwrap().into_inner().projects;
    let environment = &projects[0].environments[0];
    assert_eq!(
        (projects[0].name.as_str(), environment.name.as_str(), environment.version),
        ("shop", "live", 3)
    );
    assert!(projects[0].created_at_ms > 0 && environment.created_at_ms > 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_as_the_first_time() {
    let node = Node::start().await;
    let mut admin = node.admin();
    let change = || PublishRequest {
        request_id: ID.to_owned(),
        expect_version: Some(0),
        ..publish(Format::Json, "1")
    };
    let first = admin.publish(operator(change())).await.unwrap().into_inner().release;
    node.publish(Format::Json, "2").await;
    assert_eq!(admin.publish(operator(change())).await.unwrap().into_inner().release, first);

    let reused = PublishRequest { request_id: ID.to_owned(), ..publish(Format::Json, "3") };
    let refused = admin.publish(operator(reused)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refusal(&refused).reason.as_str()),
        (Code::InvalidArgument, "request-id-reused")
    );

    let request_id = "67e55044-10b1-426f-9247-bb680e5fe0c9".to_owned();
    let change = || RollbackRequest { request_id: request_id.clone(), ..rollback(0) };
    let back = admin.rollback(operator(change())).await.unwrap().into_inner().release;
    assert_eq!(back.as_ref().map(|release| (release.version, release.rollback_of)), Some((3, 1)));
    assert_eq!(admin.rollback(operator(change())).await.unwrap().into_inner().release, back);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let node = Node::start().await;
    let mut admin = node.admin();
    node.publish(Format::Json, "1").await;
    let dry = |request| operator(PublishRequest { validate_only: true, ..request });
    let answer = admin.publish(dry(publish(Format::Json, "2"))).await.unwrap().into_inner();
    let release = answer.release.unwrap();
    assert_eq!((release.version, release.time_ms, release.size_bytes, answer.revision), (2, 0, 1, 0));
    let conflict = PublishRequest { expect_version: Some(7), ..publish(Format::Json, "2") };
    let conflict = admin.publish(dry(conflict)).await.unwrap_err();
    assert_eq!(refusal(&conflict).current_version, 1);
    let elsewhere = PublishRequest { environment: "test".to_owned(), ..publish(Format::Json, "2") };
    assert_eq!(admin.publish(dry(elsewhere)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(node.publish(Format::Json, "2").await.version, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_change_is_refused_by_name() {
    let node = Node::start().await;
    let mut admin = node.admin();
    let check = |status: Status, code: Code, says: &str| {
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(says), "{:?} should contain {says:?}", status.message());
    };
    let good = || publish(Format::Json, "1");
    for (request, code, says) in [
        (publish(Format::Json, "{"), Code::InvalidArgument, "the document is refused: error at $"),
        (publish(Format::Flagd, "{}"), Code::InvalidArgument, "the document is refused: error at $"),
        (publish(Format::Unspecified, "1"), Code::InvalidArgument, "use json, statsig or flagd"),
        (PublishRequest { format: 99, ..good() }, Code::InvalidArgument, "use json, statsig or flagd"),
        (publish(Format::Json, &"1".repeat(4_190_001)), Code::InvalidArgument, "4190001 bytes"),
        (
            PublishRequest { project: "nul\0".to_owned(), ..good() },
            Code::InvalidArgument,
            "project: \"nul\\0\"",
        ),
        (PublishRequest { project: "blog".to_owned(), ..good() }, Code::NotFound, "blog"),
        (PublishRequest { environment: "test".to_owned(), ..good() }, Code::NotFound, "shop/test"),
        (
            PublishRequest { message: "x".repeat(1_025), ..good() },
            Code::InvalidArgument,
            "message has 1025 bytes",
        ),
        (PublishRequest { request_id: "1".to_owned(), ..good() }, Code::InvalidArgument, "not a UUID"),
        (PublishRequest { expect_version: Some(3), ..good() }, Code::FailedPrecondition, "version 0, not 3"),
    ] {
        check(admin.publish(operator(request)).await.unwrap_err(), code, says);
    }
    let invalid = admin.publish(operator(publish(Format::Statsig, "{}"))).await.unwrap_err();
    let invalid = refusal(&invalid);
    assert_eq!(invalid.reason, "invalid-document");
    assert!(invalid.findings.iter().any(|finding| finding.rule.starts_with("statsig/")), "{invalid:?}");

    check(admin.rollback(operator(rollback(9))).await.unwrap_err(), Code::NotFound, "no version 9");
    let request = CreateProjectRequest { project: shop(), ..Default::default() };
    check(admin.create_project(operator(request)).await.unwrap_err(), Code::AlreadyExists, "shop");
    assert_eq!(node.publish(Format::Json, "1").await.version, 1, "nothing was published before");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_and_revoked() {
    let node = Node::start().await;
    let mut admin = node.admin();
    let create = |secret: &str| CreateKeyRequest {
        project: shop(),
        environment: live(),
        secret: secret.to_owned(),
        label: "checkout".to_owned(),
        request_id: String::new(),
    };
    let made =
        admin.create_key(operator(create("secret-of-the-checkout"))).await.unwrap().into_inner().key.unwrap();
    assert_eq!((made.prefix.as_str(), made.label.as_str(), made.id.len()), ("secret-o", "checkout", 16));
    assert!(made.created_at_ms > 0);
    for (secret, code) in [("short", Code::InvalidArgument), ("secret-of-the-checkout", Code::AlreadyExists)]
    {
        assert_eq!(admin.create_key(operator(create(secret))).await.unwrap_err().code(), code);
    }
    for (project, environment, expected) in
        [("", "", Ok(2)), ("shop", "live", Ok(2)), ("shop", "test", Err(Code::NotFound))]
    {
        let request = ListKeysRequest { project: project.to_owned(), environment: environment.to_owned() };
        let listed = admin.list_keys(operator(request)).await;
        let listed = listed.map(|answer| answer.into_inner().keys.len()).map_err(|status| status.code());
        assert_eq!(listed, expected, "{project}/{environment}");
    }
    let revoke = |id: &str| RevokeKeyRequest { id: id.to_owned(), ..Default::default() };
    let revoked = admin.revoke_key(operator(revoke(&made.id))).await.unwrap().into_inner().key.unwrap();
    assert_eq!(revoked, made);
    let gone = admin.revoke_key(operator(revoke(&made.id))).await.unwrap_err();
    assert_eq!((gone.code(), refusal(&gone).reason.as_str()), (Code::NotFound, "unknown-key"));
    assert_eq!(
        admin.revoke_key(operator(revoke("nonsense"))).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_describes_itself() {
    let node = Node::start().await;
    let status = node.admin().cluster_status(operator(ClusterStatusRequest {})).await.unwrap().into_inner();
    let [only] = status.nodes.as_slice() else { panic!("{} nodes", status.nodes.len()) };
    assert!(only.healthy && only.is_leader && only.applied_index > 0, "{only:?}");
    assert_eq!((only.id, only.region.as_str(), only.role.as_str()), (1, "here", "voter"));
    assert_eq!((only.grpc_address.clone(), only.pid), (node.address.to_string(), std::process::id()));
    assert_eq!(only.state_digest.len(), 64);
    node.stop().await;
}
