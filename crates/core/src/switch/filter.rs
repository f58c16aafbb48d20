//! A program's own checks of who may connect, beside access lists, bans and slots.
//!
//! ```text
//!   accepted or dialled ─▶ Filter::connection (an address) ─▶ handshake ─▶ Filter::peer (who, and what they say) ─▶ admission
//! ```
//! All filters are asked at once, and each must agree. A filter may ask elsewhere: it has [`ANSWER_WITHIN`] to answer, and the
//! connection holds its pending slot meanwhile. No answer counts as a refusal. A refusal is reported like any other, with the
//! filter's reason.
//!
//! Filters do not see sessions that exist; [`crate::Switch`] ends those.

use crate::BoxFuture;
use crate::id::{Direction, PeerId};
use crate::reason::Reason;
use crate::wire::RemoteInfo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a filter may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Somebody who would become a peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Newcomer {
    /// The proven identity.
    pub id: PeerId,
    /// Who dialled.
    pub direction: Direction,
    /// The other end's address.
    pub remote: SocketAddr,
    /// What they say of themselves. Print it through [`crate::text::printable`].
    pub info: RemoteInfo,
}

/// Who may connect, by a program's own rules.
pub trait Filter: Send + Sync + 'static {
    /// Judges an address, before the handshake.
    ///
    /// # Errors
    /// Why not; [`Reason::AccessDenied`] where there is no better one.
    fn connection(&self, remote: SocketAddr, direction: Direction) -> BoxFuture<'static, Result<(), Reason>> {
        let _ = (remote, direction);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Judges an identity and what it says, after the handshake.
    ///
    /// # Errors
    /// As for [`Filter::connection`].
    fn peer(&self, newcomer: &Newcomer) -> BoxFuture<'static, Result<(), Reason>> {
        let _ = newcomer;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Asks all at once; the first no counts.
pub(crate) async fn all(
    filters: &[Arc<dyn Filter>],
    ask: impl Fn(&dyn Filter) -> BoxFuture<'static, Result<(), Reason>>,
) -> Result<(), Reason> {
    if filters.is_empty() {
        return Ok(());
    }
    let mut asked = JoinSet::new();
    for filter in filters {
        asked.spawn(tokio::time::timeout(ANSWER_WITHIN, ask(&**filter)));
    }
    while let Some(answer) = asked.join_next().await {
        // One that panics has not agreed.
        answer.ok().and_then(Result::ok).unwrap_or(Err(Reason::AccessDenied))?;
    }
    Ok(())
}
