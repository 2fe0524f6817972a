//! Config streams: what each of them has in common, whatever protocol it speaks.
//!
//! There is no queue. A stream remembers what its client holds, and when the client is ready for more, it takes the
//! newest view: a slow reader skips, and never costs more than one message. It subscribes before it first looks, so
//! a change in between is not lost. It ends when its key is revoked, when its node leaves service, and when what it
//! demands can be proved no longer. All it waits for are timers and two shared notices, so that thousands of silent
//! streams cost nothing.

use std::future::Future;
use std::time::Duration;

use futures::{FutureExt as _, Stream};
use meridian_replication::catalog::{Subscription, View};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::access::{Access, Reader};
use super::status;
use super::streams::Open;
use crate::demand::Demand;
use crate::service::{Away, Departure};
use crate::stamp::Stamp;

/// What a stream may demand of its whole life at least: proof comes about twice a second.
const MAX_STALENESS_MIN: Duration = Duration::from_secs(1);

/// What one protocol sends.
pub(super) trait Feed: Send + 'static {
    /// One message.
    type Message: Send + 'static;

    /// What the client gets from this view; nothing if it holds that already. The first call is the beginning of
    /// the stream.
    fn next(
        &mut self,
        view: &View,
        stamp: &Stamp,
    ) -> impl Future<Output = Result<Option<Self::Message>, Status>> + Send;

    /// Silence after which it says that there is nothing new, if it does.
    fn silence(&self) -> Option<Duration>;

    /// What it says then.
    fn nothing_new(&self, stamp: &Stamp) -> Self::Message;
}

struct Watch<F> {
    access: Access,
    changes: Subscription,
    departure: Departure,
    reader: Reader,
    feed: F,
    proof: Option<Proof>,
    spoke: Instant,
    /// Counts the stream for as long as it lives.
    _open: Open,
}

/// That nothing is missing which is older than this, while the stream lives.
struct Proof {
    max_staleness: Duration,
    until: Instant,
}

/// What ends a wait.
enum Woken {
    Changed,
    Silence,
    Away(Away),
    ProofIsDue,
}

/// Follows an environment for as long as the reader may. Ends with an error only, never with OK. What is demanded of
/// the beginning must have been proved.
pub(super) fn follow<F: Feed>(
    access: Access,
    reader: Reader,
    open: Open,
    demand: &Demand,
    feed: F,
) -> impl Stream<Item = Result<F::Message, Status>> + Send + use<F> {
    let changes = access.handle.catalog().subscribe(&reader.environment);
    let departure = access.service.departure();
    let spoke = Instant::now();
    let proof = demand.max_staleness.map(|max_staleness| Proof { max_staleness, until: spoke });
    let watch = Watch { access, changes, departure, reader, feed, proof, spoke, _open: open };
    futures::stream::try_unfold(watch, |mut watch| async {
        let message = watch.next().await?;
        watch.spoke = Instant::now();
        Ok(Some((message, watch)))
    })
}

/// Refuses what no stream can keep up.
pub(super) fn check(demand: &Demand) -> Result<(), Status> {
    match demand.max_staleness {
        Some(most) if most < MAX_STALENESS_MIN => Err(Status::invalid_argument(format!(
            "max staleness of a stream is {} ms: at least {} ms can be proved all the time",
            most.as_millis(),
            MAX_STALENESS_MIN.as_millis()
        ))),
        _ => Ok(()),
    }
}

impl<F: Feed> Watch<F> {
    async fn next(&mut self) -> Result<F::Message, Status> {
        // A stream that always has something to say must go too.
        if let Some(away) = self.departure.due().now_or_never() {
            return Err(status::away(&away));
        }
        loop {
            let (view, stamp) = self.access.stamper.look();
            self.reader.may_go_on(&view.directory)?;
            if let Some(message) = self.feed.next(&view, &stamp).await? {
                return Ok(message);
            }
            // A view holds on to documents that are no longer served.
            drop(view);
            match self.woken().await {
                Woken::Changed => {}
                Woken::Silence => return Ok(self.feed.nothing_new(&self.access.stamper.look().1)),
                Woken::Away(away) => return Err(status::away(&away)),
                Woken::ProofIsDue => self.prove().await?,
            }
        }
    }

    async fn woken(&mut self) -> Woken {
        let silence = self.feed.silence().map(|silence| self.spoke + silence);
        let proof_is_due = self.proof.as_ref().map(|proof| proof.until);
        tokio::select! {
            () = self.changes.changed() => Woken::Changed,
            away = self.departure.due() => Woken::Away(away),
            () = at(silence) => Woken::Silence,
            () = at(proof_is_due) => Woken::ProofIsDue,
        }
    }

    async fn prove(&mut self) -> Result<(), Status> {
        let Some(proof) = &mut self.proof else { return Ok(()) };
        let proved = self.access.prover.max_staleness(proof.max_staleness, &self.reader.environment).await;
        proof.until = proved.map_err(|unproved| status::unproved(&unproved))?;
        Ok(())
    }
}

/// At no time, if none is given.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
