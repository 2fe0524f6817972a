//! The calls about the cluster itself, one method per RPC.

use meridian_proto::admin::{
    BackupRequest, ChangeMembersRequest, ChangeMembersResponse, ClusterStatusRequest, ClusterStatusResponse,
    DrainRequest, DrainResponse, Event, GetOutcomeRequest, GetPlacementRequest, ListEventsRequest, Placement,
    SetPlacementRequest, TransferLeaderRequest,
};

use crate::answer::required;
use crate::catalog::request_id;
use crate::change::Effect;
use crate::line::Line;
use crate::read::Manner;
use crate::{Backup, Client, Error, Outcome};

/// What any node answers.
impl Client {
    /// What the node that answers knows of every node.
    pub async fn cluster_status(&self) -> Result<ClusterStatusResponse, Error> {
        let send = |line: Line, request| async move { line.admin().cluster_status(request).await };
        self.caller.read(Manner::Plain, ClusterStatusRequest {}, send).await
    }

    /// Where leaders should be.
    pub async fn placement(&self) -> Result<Placement, Error> {
        let send = |line: Line, request| async move { line.admin().get_placement(request).await };
        required(self.caller.read(Manner::Plain, GetPlacementRequest {}, send).await?.placement)
    }

    /// Kept changes of the cluster itself, newest first; at most `limit`, of which 0 means 50 and 1000 is the most.
    pub async fn events(&self, limit: u32) -> Result<Vec<Event>, Error> {
        let send = |line: Line, request| async move { line.admin().list_events(request).await };
        Ok(self.caller.read(Manner::Plain, ListEventsRequest { limit }, send).await?.events)
    }

    /// A consistent copy of everything. See [`Backup`]. Making it takes a node a while: give it a long
    /// [`Options::deadline`](crate::Options::deadline), which ends with the first bytes.
    pub async fn backup(&self) -> Result<Backup, Error> {
        let send = |line: Line, request| async move { line.admin().backup(request).await };
        let stream = self.caller.read(Manner::Patient, BackupRequest {}, send).await?;
        Backup::begin(stream, self.caller.deadline).await
    }
}

/// What only the leader decides or knows.
impl Client {
    /// What became of a change that ended [`Error::Unknown`].
    ///
    /// With `settle`, a change that is not decided yet is decided now: it never will be made, [`Outcome::Abandoned`].
    /// Without, [`Outcome::Undecided`] leaves open that an attempt is still on its way. Asking changes nothing else, so
    /// it may be repeated; [`Error::MaybeDone`] when it stayed unknown whether it was settled.
    pub async fn outcome(&self, request_id: &str, settle: bool) -> Result<Outcome, Error> {
        let message = GetOutcomeRequest { request_id: request_id.to_owned(), settle };
        let effect = if settle { Effect::State } else { Effect::None };
        let send = |line: Line, request| async move { line.admin().get_outcome(request).await };
        self.caller.change(effect, message, send).await?.try_into()
    }

    /// Adds, promotes, demotes, removes or replaces members. Ends when the change is committed.
    ///
    /// [`Error::Refused`] lists each rule that speaks against it as a finding. [`Error::MaybeDone`] when a broken
    /// connection left open whether it was done: asking for what is already so changes nothing, so ask again.
    pub async fn change_members(
        &self,
        message: ChangeMembersRequest,
    ) -> Result<ChangeMembersResponse, Error> {
        let effect = if message.validate_only { Effect::None } else { Effect::State };
        let send = |line: Line, request| async move { line.admin().change_members(request).await };
        self.caller.change(effect, message, send).await
    }

    /// Lets another voter lead, and ends when it does: its id. 0 asks for the one that the placement prefers.
    ///
    /// [`Error::MaybeDone`] when it stayed open whether it was done. With 0 nothing is repeated then, as leadership would
    /// move once more: look at the status.
    pub async fn transfer_leader(&self, to: u64) -> Result<u64, Error> {
        let effect = if to == 0 { Effect::Step } else { Effect::State };
        let send = |line: Line, request| async move { line.admin().transfer_leader(request).await };
        let answer = self.caller.change(effect, TransferLeaderRequest { to }, send).await?;
        // Whoever answered leads no longer.
        self.caller.pool.set_leader(None);
        Ok(answer.leader)
    }

    /// Takes nodes out of service, or puts them back. Ends when that is committed, not when it has happened:
    /// [`Client::cluster_status`] says how far each node is.
    pub async fn drain(&self, mut message: DrainRequest) -> Result<DrainResponse, Error> {
        let id = request_id(&mut message.request_id);
        let send = |line: Line, request| async move { line.admin().drain(request).await };
        self.caller.change(Effect::Change(&id), message, send).await
    }

    /// Says where leaders should be, and whether lost voters are replaced.
    pub async fn set_placement(&self, mut message: SetPlacementRequest) -> Result<Placement, Error> {
        let id = request_id(&mut message.request_id);
        let send = |line: Line, request| async move { line.admin().set_placement(request).await };
        required(self.caller.change(Effect::Change(&id), message, send).await?.placement)
    }
}
