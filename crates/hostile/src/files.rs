//! Casts that are none: headers whose pages are right and whose chunks nobody has, and a peer that announces them.

use crate::node::Node;
use crate::stranger::{Heard, Listener, Offering, Talker, dial};
use crate::world::World;
use bytes::{Bytes, BytesMut};
use std::net::Ipv4Addr;
use switchboard_cast::manifest::{PAGE_CHUNKS, hash};
use switchboard_cast::{ChannelMap, Flow, Hash, Header, Message};

const PAGE: usize = PAGE_CHUNKS as usize * 32;

/// Bytes that neither repeat nor compress, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out.into()
}

/// A cast with whole pages.
#[derive(Debug, Clone)]
pub(crate) struct Bogus {
    pub(crate) header: Header,
    seed: u64,
}

impl Bogus {
    /// `pages` whole pages of chunks of `chunk` bytes. Every page can be given, no chunk can.
    pub(crate) fn new(seed: u64, pages: u16, chunk: u32) -> anyhow::Result<Self> {
        let hashes: Vec<Hash> = (0..pages).map(|page| hash(&Self::bytes(seed, page))).collect();
        let size = u64::from(pages) * u64::from(PAGE_CHUNKS) * u64::from(chunk);
        Ok(Self { header: Header::new(size, chunk, &format!("bogus-{seed}"), &hashes)?, seed })
    }

    fn bytes(seed: u64, page: u16) -> Bytes {
        noise(seed << 16 | u64::from(page), PAGE)
    }

    pub(crate) fn page(&self, page: u16) -> Bytes {
        Self::bytes(self.seed, page)
    }
}

/// A peer that speaks `cast` on devp2p.
pub(crate) struct CastPeer {
    pub(crate) talker: Talker,
    pub(crate) listener: Listener,
    map: ChannelMap,
}

/// The announce of a header by somebody who holds so many chunks.
pub(crate) fn announce(header: &Header, held: u32) -> Message {
    Message::Announce { id: header.id(), hops: 0, held, header: header.raw().clone() }
}

/// Takes a message for a talker.
pub(crate) fn put(talker: &mut Talker, map: &ChannelMap, message: &Message) -> anyhow::Result<()> {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    talker.put(map.channel(message.flow()), &out, true)
}

impl CastPeer {
    pub(crate) async fn dial(world: &World, node: &Node, from: Ipv4Addr) -> anyhow::Result<Self> {
        let (talker, listener, map) = dial(world, node, "devp2p", Offering::Cast, from).await?;
        Ok(Self { talker, listener, map })
    }

    pub(crate) fn put(&mut self, message: &Message) -> anyhow::Result<()> {
        put(&mut self.talker, &self.map, message)
    }

    pub(crate) async fn say(&mut self, message: &Message) -> anyhow::Result<()> {
        self.put(message)?;
        self.talker.flush().await
    }

    /// The next message of `cast`; an error at the end of the session.
    pub(crate) async fn hear(&mut self) -> anyhow::Result<Message> {
        loop {
            if let Heard::Message(channel, data) = self.listener.next().await?
                && let Some(flow) = Flow::ALL.into_iter().find(|flow| self.map.channel(*flow) == channel)
            {
                return Ok(Message::decode(flow, data, flow.limit())?);
            }
        }
    }

    /// The two halves, for one that talks whatever it hears.
    pub(crate) fn split(self) -> (Talker, Listener, ChannelMap) {
        (self.talker, self.listener, self.map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_fit_their_header() {
        let bogus = Bogus::new(7, 3, 1 << 20).unwrap();
        for page in 0..3 {
            assert!(bogus.header.page_fits(page, &bogus.page(page)));
        }
        assert_ne!(bogus.header.id(), Bogus::new(8, 3, 1 << 20).unwrap().header.id());
    }
}
