//! Sessions in the hands of whoever measures them; the same on every wire.

use super::{BenchError, BulkPlan, BulkResult, EchoPlan, EchoResult, UrgentPlan};
use switchboard::protocol::channel::ChannelId;
use switchboard::protocol::io::{ChannelIo, ChannelSender};
use switchboard::session::inbox::Inbox;
use switchboard::switch::peer::Peer;
use tokio::sync::mpsc;

/// Sessions that may wait for whoever drives them.
const DRIVERS: usize = 64;

/// Measures one session. Series run one after the other; after an error the session is of no further use, as late
/// answers would be taken for those of the next series.
pub trait Drive: Send {
    /// Runs an echo series.
    ///
    /// # Errors
    /// [`BenchError`]: the first thing that went wrong.
    fn echo(&mut self, plan: EchoPlan) -> impl Future<Output = Result<EchoResult, BenchError>> + Send;

    /// Runs a one-way flow, up to the peer's count or the acknowledgement of its last message.
    ///
    /// # Errors
    /// [`BenchError`]: the first thing that went wrong.
    fn bulk(&mut self, plan: BulkPlan) -> impl Future<Output = Result<BulkResult, BenchError>> + Send;

    /// Runs echoes on a channel that goes before a flow's. The flow does not end: the session is of no further use.
    ///
    /// # Errors
    /// [`BenchError`]: the first thing that went wrong; [`BenchError::NothingUrgent`] on a wire without such channels.
    fn urgent(&mut self, _: UrgentPlan) -> impl Future<Output = Result<EchoResult, BenchError>> + Send {
        std::future::ready(Err(BenchError::NothingUrgent))
    }
}

/// Hands sessions to whoever drives them: the first 64 that wait. Those beyond are only looked at.
#[derive(Debug)]
pub struct Drivers<D>(Option<mpsc::Sender<D>>);

impl<D> Drivers<D> {
    /// Nobody drives.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Whoever holds the receiver drives.
    #[must_use]
    pub fn waiting() -> (Self, mpsc::Receiver<D>) {
        let (drivers, sessions) = mpsc::channel(DRIVERS);
        (Self(Some(drivers)), sessions)
    }

    /// Hands a session over, which is only made when there is a place for it.
    pub fn offer(&self, make: impl FnOnce() -> Option<D>) {
        if let Some(Ok(place)) = self.0.as_ref().map(mpsc::Sender::try_reserve)
            && let Some(driver) = make()
        {
            place.send(driver);
        }
    }
}

/// What drives a session on a wire that answers on channels: one for replies, one for reports.
#[derive(Debug)]
pub struct Ends {
    /// The peer that is measured.
    pub peer: Peer,
    /// Where requests go.
    pub sender: ChannelSender,
    /// Where echoes come.
    pub replies: Inbox,
    /// Where reports come.
    pub reports: Inbox,
}

impl Ends {
    /// Takes both inboxes out of a session.
    pub fn take(peer: Peer, io: &mut ChannelIo, replies: ChannelId, reports: ChannelId) -> Option<Self> {
        let (replies, reports) = io.take(replies).zip(io.take(reports))?;
        Some(Self { peer, sender: io.sender(), replies, reports })
    }
}
