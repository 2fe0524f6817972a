//! Config streams: what each of them has in common, whatever protocol it speaks.
//!
//! There is no queue. A stream remembers what its client holds, and when the client is ready for more, it takes the
//! newest view: a slow reader skips, and never costs more than one message. It subscribes before it first looks, so
//! a change in between is not lost. It ends when its key is revoked, and when the node stops (`observe`).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use meridian_replication::Catalog;
use meridian_replication::catalog::{Subscription, View};
use tonic::Status;

use super::access::Reader;
use super::streams::Open;

/// Silence after which a protocol may say that there is nothing new: proxies on the way close what looks dead.
const IDLE: Duration = Duration::from_secs(30);

/// What one protocol sends.
pub(super) trait Feed: Send + 'static {
    /// One message.
    type Message: Send + 'static;

    /// What the client gets from this view; nothing if it holds that already. The first call is the beginning of
    /// the stream.
    fn next(&mut self, view: &View) -> impl Future<Output = Result<Option<Self::Message>, Status>> + Send;

    /// What is said after [`IDLE`] of silence, if anything is.
    fn idle(&self) -> Option<Self::Message>;
}

struct Watch<F> {
    catalog: Arc<Catalog>,
    changes: Subscription,
    reader: Reader,
    feed: F,
    /// Counts the stream for as long as it lives.
    _open: Open,
}

/// Follows an environment for as long as the reader may. Ends with an error only, never with OK.
pub(super) fn follow<F: Feed>(
    catalog: Arc<Catalog>,
    reader: Reader,
    open: Open,
    feed: F,
) -> impl Stream<Item = Result<F::Message, Status>> + Send {
    let changes = catalog.subscribe(&reader.environment);
    let watch = Watch { catalog, changes, reader, feed, _open: open };
    futures::stream::try_unfold(watch, |mut watch| async {
        let message = watch.next().await?;
        Ok(Some((message, watch)))
    })
}

impl<F: Feed> Watch<F> {
    async fn next(&mut self) -> Result<F::Message, Status> {
        loop {
            let view = self.catalog.view();
            self.reader.may_go_on(&view.directory)?;
            if let Some(message) = self.feed.next(&view).await? {
                return Ok(message);
            }
            // A view holds on to documents that are no longer served.
            drop(view);
            let silent = tokio::time::timeout(IDLE, self.changes.changed()).await.is_err();
            if silent && let Some(message) = self.feed.idle() {
                return Ok(message);
            }
        }
    }
}
