//! How any part of a member says that it cannot go on.

use tokio::sync::watch;

use crate::error::Fatal;

/// Rings once: the first reason counts. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    reason: watch::Sender<Option<Fatal>>,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self { reason: watch::Sender::new(None) }
    }

    pub(crate) fn ring(&self, fatal: Fatal) {
        self.reason.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                tracing::error!(%fatal, "this member cannot go on");
                *reason = Some(fatal);
            }
            first
        });
    }

    pub(crate) fn rung(&self) -> Option<Fatal> {
        self.reason.borrow().clone()
    }

    pub(crate) async fn wait(&self) -> Fatal {
        let mut reason = self.reason.subscribe();
        match reason.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_else(|| Fatal::Raft("no reason given".to_owned())),
            Err(_) => Fatal::Raft("its alarm is gone".to_owned()),
        }
    }
}
