//! The history of an environment.

use std::sync::Arc;

use meridian_model::state::Directory;
use meridian_model::{EnvironmentRef, Refusal, Release, Version};
use meridian_proto::admin::{
    GetReleaseRequest, GetReleaseResponse, ListReleasesRequest, ListReleasesResponse,
};
use tonic::Status;

use super::Admin;
use crate::grpc::{lookup, status, wire};
use crate::render::cache;

/// Releases of one page, where the caller does not say.
const DEFAULT_PAGE: usize = 50;

/// Releases of one page at most: all that are kept.
const LARGEST_PAGE: usize = 1_000;

impl Admin {
    pub(super) fn list_releases(&self, asked: &ListReleasesRequest) -> Result<ListReleasesResponse, Status> {
        let view = self.view()?;
        let at = lookup::environment_name(&asked.project, &asked.environment)?;
        lookup::environment(&view.directory, &at).map_err(|unknown| status::refusal(&unknown))?;
        let (page, next_before_version) = page(&view.directory, &at, asked.before_version, asked.limit);
        let releases = page.iter().map(|release| wire::release(release)).collect();
        Ok(ListReleasesResponse { releases, next_before_version })
    }

    pub(super) async fn get_release(&self, asked: GetReleaseRequest) -> Result<GetReleaseResponse, Status> {
        let at = lookup::environment_name(&asked.project, &asked.environment)?;
        let release = self.find_release(&at, asked.version)?;
        let kept = self.handle.document(&release).await.map_err(|error| status::read(&error))?;
        let document = kept.ok_or_else(|| {
            status::refusal(&Refusal::UnknownVersion {
                environment: at.to_string(),
                version: release.version,
            })
        })?;
        let document = cache::open(document).await.map_err(|error| status::rendering(&error))?;
        Ok(GetReleaseResponse { release: Some(wire::release(&release)), document })
    }

    fn find_release(&self, at: &EnvironmentRef, version: Version) -> Result<Arc<Release>, Status> {
        let view = self.view()?;
        let environment =
            lookup::environment(&view.directory, at).map_err(|unknown| status::refusal(&unknown))?;
        let version = match (version, environment.head) {
            (0, 0) => return Err(status::nothing_published(at)),
            (0, newest) => newest,
            (version, _) => version,
        };
        lookup::release(&view.directory, at, version).map_err(|unknown| status::refusal(&unknown))
    }
}

/// Releases below a version, newest first, and where the next page begins. 0 stands for the default, and for none.
fn page(
    directory: &Directory,
    at: &EnvironmentRef,
    before_version: Version,
    limit: u32,
) -> (Vec<Arc<Release>>, Version) {
    let end = if before_version == 0 { Version::MAX } else { before_version };
    let limit = if limit == 0 { DEFAULT_PAGE } else { LARGEST_PAGE.min(limit as usize) };
    let mut newest_first = directory.releases(at, 0..end).rev().cloned();
    let page: Vec<_> = newest_first.by_ref().take(limit).collect();
    let next = match (page.last(), newest_first.next()) {
        (Some(last), Some(_)) => last.version,
        _ => 0,
    };
    (page, next)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::grpc::testing::Shop;

    #[test]
    fn pages_follow_each_other_without_gaps() {
        let mut shop = Shop::default();
        shop.project("shop");
        for environment in ["live", "test"] {
            shop.environment("shop", environment);
        }
        shop.publish("shop", "test", "{}");
        for n in 0..60 {
            shop.publish("shop", "live", &n.to_string());
        }
        let (directory, at) = (shop.directory(), EnvironmentRef::parse("shop", "live").unwrap());
        let check = |before, limit, versions: Vec<Version>, next| {
            let (found, after) = page(&directory, &at, before, limit);
            let found: Vec<_> = found.iter().map(|release| release.version).collect();
            assert_eq!((found, after), (versions, next), "before {before}, limit {limit}");
        };
        check(0, 0, (11..=60).rev().collect(), 11);
        check(11, 0, (1..=10).rev().collect(), 0);
        check(0, 3, vec![60, 59, 58], 58);
        check(58, 3, vec![57, 56, 55], 55);
        check(3, 2, vec![2, 1], 0);
        check(4, 2, vec![3, 2], 2);
        check(1, 5, vec![], 0);
        check(0, u32::MAX, (1..=60).rev().collect(), 0);
        check(Version::MAX, 1, vec![60], 60);
    }
}
