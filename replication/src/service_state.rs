//! How far this node's daemon is in or out of service, as the others are told.

use std::sync::{Mutex, PoisonError};

use crate::handle::Handle;

/// Whether a node serves readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceState {
    /// It does.
    #[default]
    Serving,
    /// It was asked to leave service: streams are being ended.
    Draining,
    /// It serves nobody and does not lead: safe to stop.
    Drained,
}

/// What the daemon said last.
#[derive(Debug, Default)]
pub(crate) struct Reported(Mutex<(ServiceState, u64)>);

impl Reported {
    pub(crate) fn set(&self, service: ServiceState, streams: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (service, streams);
    }

    pub(crate) fn get(&self) -> (ServiceState, u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// What the others are told when they ask for this node's status: whether it serves, and how many config streams
    /// are open on it. Decides nothing here.
    pub fn report_service(&self, service: ServiceState, streams: u64) {
        self.state.reported.set(service, streams);
    }
}
