//! Nodes, their ids and the distance between ids.
//!
//! ```text
//!   id        Keccak-256 of the public key X ‖ Y, 32 bytes
//!   distance  the two ids XORed, read as one number; its bit length, 0..=256, is the logarithmic distance
//! ```
//! (spec: discv4.md, "Kademlia Table")

use std::fmt::{Debug, Display, Formatter};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use switchboard_enr::enode::{Endpoint, Enode};
use switchboard_enr::keccak::keccak256;
use switchboard_enr::{NodePublic, Record};

/// A node's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// The id of a public key X ‖ Y.
    #[must_use]
    pub fn of_key(key: &[u8; 64]) -> Self {
        Self(keccak256(key))
    }

    /// The XOR distance; compares as the number it is.
    #[must_use]
    pub fn distance(&self, other: &Self) -> [u8; 32] {
        let mut out = self.0;
        out.iter_mut().zip(other.0).for_each(|(a, b)| *a ^= b);
        out
    }

    /// Bit length of the distance: 0 for the same id, 256 when the first bits differ.
    #[must_use]
    pub fn log_distance(&self, other: &Self) -> u16 {
        let distance = self.distance(other);
        let zeros = distance
            .iter()
            .position(|byte| *byte != 0)
            .map_or(256, |at| at * 8 + distance.get(at).map_or(0, |byte| byte.leading_zeros() as usize));
        256 - u16::try_from(zeros).unwrap_or(256)
    }
}

impl Display for NodeId {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Debug for NodeId {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0.first_chunk::<4>().unwrap_or(&[0; 4])))
    }
}

/// A node with an address: who it is, where it is said to be, and its record if one was seen. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    facts: Arc<Facts>,
}

#[derive(Clone, PartialEq, Eq)]
struct Facts {
    id: NodeId,
    key: [u8; 64],
    ip: IpAddr,
    udp: u16,
    tcp: u16,
    record: Option<Arc<Record>>,
}

impl Node {
    /// A node by its key and ports. An IPv4 address in IPv6 form becomes IPv4. A TCP port of 0 means that it takes no
    /// connections.
    #[must_use]
    pub fn new(key: [u8; 64], ip: IpAddr, udp: u16, tcp: u16) -> Self {
        Self::identified(NodeId::of_key(&key), key, ip, udp, tcp)
    }

    /// The same where the key's id is known already.
    pub(crate) fn identified(id: NodeId, key: [u8; 64], ip: IpAddr, udp: u16, tcp: u16) -> Self {
        let ip = ip.to_canonical();
        Self { facts: Arc::new(Facts { id, key, ip, udp, tcp, record: None }) }
    }

    /// Whether another says the same of where it is.
    pub(crate) fn same_place(&self, other: &Self) -> bool {
        let place = |node: &Self| (node.facts.ip, node.facts.udp, node.facts.tcp);
        place(self) == place(other)
    }

    /// The node a record tells of; `None` without an address and UDP port.
    #[must_use]
    pub fn from_record(record: Arc<Record>) -> Option<Self> {
        let at = record.udp_endpoint()?;
        let tcp = record.tcp_endpoint().filter(|tcp| tcp.ip() == at.ip()).map_or(0, |tcp| tcp.port());
        let (key, id) = (record.key().to_bytes(), NodeId(record.key().node_id()));
        let facts = Facts { id, key, ip: at.ip(), udp: at.port(), tcp, record: Some(record) };
        Some(Self { facts: Arc::new(facts) })
    }

    /// The node a URL or record names, as users write it. `None` when it has no address, no UDP port, or a DNS name in
    /// place of the address: names are looked up by the caller.
    #[must_use]
    pub fn from_enode(enode: &Enode) -> Option<Self> {
        let Endpoint { host, tcp, udp } = enode.endpoint.as_ref()?;
        let ip = host.parse().ok()?;
        (*udp != 0).then(|| Self::new(enode.key.to_bytes(), ip, *udp, *tcp))
    }

    /// The same node with a record that was checked to be its own.
    ///
    /// The address stays: a record says where a node wants to be reached, a proven address where it was.
    #[must_use]
    pub fn with_record(mut self, record: Arc<Record>) -> Self {
        if record.key().node_id() == self.id().0 {
            Arc::make_mut(&mut self.facts).record = Some(record);
        }
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.facts.id
    }

    /// Its public key, X ‖ Y.
    #[must_use]
    pub fn key(&self) -> &[u8; 64] {
        &self.facts.key
    }

    /// Its address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.facts.ip
    }

    /// Where discovery packets go.
    #[must_use]
    pub fn udp(&self) -> SocketAddr {
        SocketAddr::new(self.facts.ip, self.facts.udp)
    }

    /// Where connections go; `None` when it takes none.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        (self.facts.tcp != 0).then(|| SocketAddr::new(self.facts.ip, self.facts.tcp))
    }

    /// Its record, if one was seen.
    #[must_use]
    pub fn record(&self) -> Option<&Arc<Record>> {
        self.facts.record.as_ref()
    }

    /// The sequence number of its record; 0 without one.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.facts.record.as_ref().map_or(0, |record| record.seq())
    }

    /// As a URL; `None` for keys of a scheme that is not secp256k1.
    #[must_use]
    pub fn to_enode(&self) -> Option<Enode> {
        let key = NodePublic::from_bytes(&self.facts.key).ok()?;
        let endpoint = Endpoint { host: self.facts.ip.to_string(), tcp: self.facts.tcp, udp: self.facts.udp };
        Some(Enode { key, endpoint: Some(endpoint) })
    }
}

impl Debug for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}@{}", self.facts.id, self.udp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let zero = NodeId([0; 32]);
        assert_eq!(zero.log_distance(&zero), 0);
        for bit in 0..256 {
            let mut other = [0; 32];
            other[bit / 8] = 0x80 >> (bit % 8);
            assert_eq!(usize::from(zero.log_distance(&NodeId(other))), 256 - bit);
        }
        assert_eq!(zero.log_distance(&NodeId([0xff; 32])), 256);
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let node = Node::new([1; 64], "::ffff:10.0.0.1".parse().unwrap(), 30303, 0);
        assert_eq!(node.udp().to_string(), "10.0.0.1:30303");
        assert_eq!(node.tcp(), None);
    }
}
