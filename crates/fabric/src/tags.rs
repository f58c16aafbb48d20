//! Which tag a content demands: who it may be passed on to.
//!
//! ```text
//!   content                                        tag
//!   alive, mem_req, mem_res                        EMPTY
//!   data_msg, leadership                           CHAN_AND_ORG
//!   hello, data_dig, data_req, data_update         CHAN_AND_ORG for blocks, EMPTY for identities
//!   state_info, its snapshot and pull request      CHAN_OR_ORG
//!   state_request, state_response                  CHAN_OR_ORG
//!   peer_identity                                  ORG_ONLY on its own (peers send it in data_update, with EMPTY, unchecked)
//! ```
//! (fabric gossip/protoext/message.go) conn and ack never come this far; private data is said to be CHAN_ONLY and is not checked by
//! Go peers; a message with no content, or `Empty`, is not legal anywhere.
//!
//! A message that breaks a rule is dropped, not a reason to end a session: that is how Go peers take it. The
//! rule says what a message claims of itself; whether its sender is in the channel or organisation is judged elsewhere.

use crate::message::{Content, GossipMessage, PullMsgType, Tag};

/// What is wrong with a message's tag; whoever made the message is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagFault {
    /// No content, or the empty one.
    #[error("a message without content")]
    NoContent,
    /// A pull that is neither of blocks nor of identities.
    #[error("a pull of unknown kind {0}")]
    PullKind(i32),
    /// The wrong tag.
    #[error("tag {found} where {demanded:?} is demanded")]
    Tag {
        /// The tag of the message.
        found: i32,
        /// The tag its content demands.
        demanded: Tag,
    },
}

fn of_pull(kind: i32) -> Result<Option<Tag>, TagFault> {
    match PullMsgType::try_from(kind) {
        Ok(PullMsgType::BlockMsg) => Ok(Some(Tag::ChanAndOrg)),
        Ok(PullMsgType::IdentityMsg) => Ok(Some(Tag::Empty)),
        _ => Err(TagFault::PullKind(kind)),
    }
}

/// The tag a content demands; `None` where none is.
///
/// # Errors
/// [`TagFault`], when no tag would make it legal.
pub fn demanded(content: &Content) -> Result<Option<Tag>, TagFault> {
    match content {
        Content::AliveMsg(_) | Content::MemReq(_) | Content::MemRes(_) => Ok(Some(Tag::Empty)),
        Content::DataMsg(_) | Content::LeadershipMsg(_) => Ok(Some(Tag::ChanAndOrg)),
        Content::Hello(hello) => of_pull(hello.msg_type),
        Content::DataDig(digest) => of_pull(digest.msg_type),
        Content::DataReq(request) => of_pull(request.msg_type),
        Content::DataUpdate(update) => of_pull(update.msg_type),
        Content::StateInfo(_)
        | Content::StateSnapshot(_)
        | Content::StateInfoPullReq(_)
        | Content::StateRequest(_)
        | Content::StateResponse(_) => Ok(Some(Tag::ChanOrOrg)),
        Content::PeerIdentity(_) => Ok(Some(Tag::OrgOnly)),
        Content::Conn(_)
        | Content::Ack(_)
        | Content::PrivateReq(_)
        | Content::PrivateRes(_)
        | Content::PrivateData(_) => Ok(None),
        Content::Empty(_) => Err(TagFault::NoContent),
    }
}

/// Checks a message's tag.
///
/// # Errors
/// [`TagFault`].
pub fn check(message: &GossipMessage) -> Result<(), TagFault> {
    match demanded(message.content.as_ref().ok_or(TagFault::NoContent)?)? {
        Some(demanded) if message.tag != i32::from(demanded) => {
            Err(TagFault::Tag { found: message.tag, demanded })
        }
        _ => Ok(()),
    }
}

/// Whether messages with this tag stay within a gossip channel, and so must name one.
#[must_use]
pub fn is_channel_restricted(tag: i32) -> bool {
    matches!(Tag::try_from(tag), Ok(Tag::ChanOnly | Tag::ChanAndOrg | Tag::ChanOrOrg))
}

#[cfg(test)]
mod tests;
