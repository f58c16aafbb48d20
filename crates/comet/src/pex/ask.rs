//! Asking one node whom it knows, outside any Switch: for tools that look at a network.
//!
//! ```text
//! connect ─▶ its NodeInfo, answered with the same network and block version and the one channel 0x00
//! ask     ─▶ `0a 00` ─▶ its answer, or the end of the session
//! ```
//! Limits: those of a message; the caller bounds every wait in time. A seed answers once and hangs up; any
//! other node allows two questions at once, then one in ten seconds.

use super::message::{Answer, CHANNEL, MAX_MESSAGE, Message, PexError};
use crate::wire::{CometConfig, mirror};
use bytes::BytesMut;
use switchboard::net::Connection;
use switchboard::protocol::channel::ChannelSpec;
use switchboard::wire::{
    Established, HandshakeError, InFrame, Offer, Offered, OutFrame, Placement, Read, RemoteInfo,
};
use switchboard::{Candidate, Env, PeerId, Reason};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The node does not take part in the exchange.
    #[error("the node has no peer exchange (channel 0x00)")]
    NoExchange,
    /// It ended the session.
    #[error("the node closed the session")]
    Closed,
    /// It broke a rule.
    #[error("the node broke a rule: {0}")]
    Breach(String),
    /// What it sent is no message of the exchange.
    #[error(transparent)]
    Message(#[from] PexError),
}

/// A session for questions.
#[derive(Debug)]
pub struct Asker {
    session: Established,
}

impl Asker {
    /// Shakes hands as a node of the same network.
    ///
    /// # Errors
    /// As for any dial.
    pub async fn connect(
        connection: Connection,
        whom: &Candidate,
        config: &CometConfig,
        env: &Env,
    ) -> Result<Self, HandshakeError> {
        let channels = vec![ChannelSpec::new(CHANNEL.into(), 1).recv_limit(MAX_MESSAGE)];
        let pex = Offered {
            index: 0,
            name: super::reactor::NAME.to_owned(),
            version: 1,
            length: 1,
            channels,
            placement: Placement::Native,
        };
        let session = mirror(connection, whom, config, env, &Offer { protocols: vec![pex] }).await?;
        Ok(Self { session })
    }

    /// Who it proved to be.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.session.peer
    }

    /// What it said of itself.
    #[must_use]
    pub fn info(&self) -> &RemoteInfo {
        &self.session.info
    }

    /// Asks, and waits for the answer. Safe to drop half-way; then the session is of no more use.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&mut self) -> Result<Answer, AskError> {
        if self.session.channels.is_empty() {
            return Err(AskError::NoExchange);
        }
        let request = Message::request();
        self.say(OutFrame::Data { wire_id: CHANNEL.into(), data: &request, last: true }).await?;
        let mut message = BytesMut::new();
        loop {
            let ping = match self.session.decoder.decode(&mut self.session.leftover) {
                Err(fault) => return Err(AskError::Breach(fault.to_string())),
                Ok(Some(InFrame::Part { data, last, .. })) => {
                    if message.len() + data.len() > MAX_MESSAGE {
                        return Err(PexError::TooLong(message.len() + data.len()).into());
                    }
                    message.extend_from_slice(data);
                    if !last {
                        continue;
                    }
                    match Message::decode(&message)? {
                        Message::Addresses(answer) => return Ok(answer),
                        // It may ask us; we know nobody.
                        Message::Request => message.clear(),
                    }
                    continue;
                }
                Ok(Some(InFrame::Ping)) => true,
                Ok(Some(_)) => continue,
                Ok(None) => false,
            };
            if ping {
                self.say(OutFrame::Pong).await?;
                continue;
            }
            match self.session.read().await {
                Ok(Read::Bytes(_) | Read::Pong) => {}
                Ok(Read::Over(_)) => return Err(AskError::Closed),
                Err(fault) => return Err(AskError::Breach(fault.to_string())),
            }
        }
    }

    async fn say(&mut self, frame: OutFrame<'_>) -> Result<(), AskError> {
        self.session.say(frame).await.map_err(|_| AskError::Closed)
    }

    /// Ends the session.
    pub async fn close(self) {
        self.session.refuse(&Reason::Quitting).await;
    }
}
