//! Our own record: signed anew whenever what it says changes, with the address that others see.
//!
//! ```text
//!   address of each family:   set by hand  ▷  predicted from what peers say  ▷  fallback
//!   UDP port:                 the predicted one, if the address is; else the fallback
//!   change ─▶ update(now) ─▶ Some(record, sequence + 1): keep the sequence, tell the network
//! ```
//! (go-ethereum p2p/enode/localnode.go, p2p/netutil/iptrack.go) IPv4 and IPv6 are predicted apart. A peer's word on our
//! address counts once for each address that it comes from, for [`Prediction::window`]; an endpoint that
//! [`Prediction::min_statements`] peers name, more than any other, is believed.
//!
//! Limits: [`MAX_STATEMENTS`] statements and [`MAX_CONTACTS`] contacts of each family; the oldest go first. What would
//! make the record larger than 300 bytes is refused.
//!
//! Does not protect from one who owns as many addresses as statements are needed, and has more of them
//! talk to us than honest peers do. Time is passed in: a duration since any fixed moment.

use crate::key::NodeKey;
use crate::record::{Entries, Port, Record, RecordError};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Statements on our address remembered of each family.
pub const MAX_STATEMENTS: usize = 1_024;
/// Hosts remembered of each family that we have sent something to.
pub const MAX_CONTACTS: usize = 4_096;
/// Two records are no nearer than this, so that a sequence made from the clock is never caught up with.
const THROTTLE: Duration = Duration::from_millis(1);

/// When peers' words on our address are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prediction {
    /// How many hosts must say the same.
    pub min_statements: usize,
    /// How long a statement counts.
    pub window: Duration,
    /// How long a host that we have sent something to counts as contacted.
    pub contact_window: Duration,
}

impl Default for Prediction {
    fn default() -> Self {
        Self {
            min_statements: 10,
            window: Duration::from_secs(5 * 60),
            contact_window: Duration::from_secs(10 * 60),
        }
    }
}

/// What peers say of our address in one family.
#[derive(Debug, Default)]
struct Tracker {
    /// By the host that said it: what, and when.
    statements: BTreeMap<IpAddr, (SocketAddr, Duration)>,
    /// When we first sent something to a host, and when last.
    contacts: BTreeMap<IpAddr, (Duration, Duration)>,
}

/// Makes room for one more, which costs a walk over all.
fn make_room<T>(map: &mut BTreeMap<IpAddr, T>, max: usize, age: impl Fn(&T) -> Duration) {
    if map.len() >= max
        && let Some(oldest) = map.iter().min_by_key(|(_, value)| age(value)).map(|(ip, _)| *ip)
    {
        map.remove(&oldest);
    }
}

impl Tracker {
    fn expire(&mut self, rules: &Prediction, now: Duration) {
        self.statements.retain(|_, (_, at)| now.saturating_sub(*at) < rules.window);
        self.contacts.retain(|_, (_, last)| now.saturating_sub(*last) < rules.contact_window);
    }

    fn state(&mut self, by: IpAddr, endpoint: SocketAddr, now: Duration) {
        if !self.statements.contains_key(&by) {
            make_room(&mut self.statements, MAX_STATEMENTS, |(_, at)| *at);
        }
        self.statements.insert(by, (endpoint, now));
    }

    fn contact(&mut self, ip: IpAddr, now: Duration) {
        if !self.contacts.contains_key(&ip) {
            make_room(&mut self.contacts, MAX_CONTACTS, |(_, last)| *last);
        }
        self.contacts.entry(ip).or_insert((now, now)).1 = now;
    }

    fn predict(&self, rules: &Prediction) -> Option<SocketAddr> {
        let mut counts: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for (endpoint, _) in self.statements.values() {
            *counts.entry(*endpoint).or_default() += 1;
        }
        let enough = counts.into_iter().filter(|(_, count)| *count >= rules.min_statements);
        enough.max_by_key(|(_, count)| *count).map(|(endpoint, _)| endpoint)
    }

    /// Whether a host reached us that we had not sent anything to before.
    fn full_cone(&self) -> bool {
        self.statements.iter().any(|(by, (_, at))| self.contacts.get(by).is_none_or(|(first, _)| first > at))
    }
}

/// One family's address.
#[derive(Debug, Default)]
struct Side {
    fixed: Option<IpAddr>,
    fallback: Option<IpAddr>,
    tracker: Tracker,
}

impl Side {
    fn endpoint(&self, rules: &Prediction, fallback_udp: u16) -> Option<SocketAddr> {
        let fixed = self.fixed.map(|ip| SocketAddr::new(ip, fallback_udp));
        let fallback = self.fallback.map(|ip| SocketAddr::new(ip, fallback_udp));
        let chosen = fixed.or_else(|| self.tracker.predict(rules)).or(fallback);
        chosen.filter(|at| !at.ip().is_unspecified())
    }
}

/// Our own record.
#[derive(Debug)]
pub struct LocalRecord {
    key: Arc<NodeKey>,
    rules: Prediction,
    entries: Entries,
    four: Side,
    six: Side,
    udp: u16,
    current: Arc<Record>,
    updated: Option<Duration>,
}

impl LocalRecord {
    /// A record that says nothing yet. `last_seq` is the sequence number that was kept of the last run; without one the
    /// sequence starts at the milliseconds since 1970, so that it is above what any forgotten run had.
    #[must_use]
    pub fn new(key: Arc<NodeKey>, last_seq: Option<u64>, unix_millis: u64, rules: Prediction) -> Self {
        let seq = last_seq.map_or(unix_millis, |seq| seq.saturating_add(1));
        let entries = Entries::default();
        let current = Arc::new(Record::minimal(&key, seq));
        let (four, six) = (Side::default(), Side::default());
        Self { key, rules, entries, four, six, udp: 0, current, updated: None }
    }

    /// The record as it was signed last.
    #[must_use]
    pub fn current(&self) -> &Arc<Record> {
        &self.current
    }

    /// Sets an entry to a byte string, for example a protocol's attribute.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] when the record would not fit; [`RecordError::Reserved`] for `id`, the key and what
    /// is set by functions of their own: addresses and UDP ports.
    pub fn set(&mut self, key: &str, value: &[u8]) -> Result<(), RecordError> {
        self.try_change(key, |entries| {
            entries.set(key, value);
            Ok(())
        })
    }

    /// Sets an entry to one RLP item of any kind.
    ///
    /// # Errors
    /// As [`LocalRecord::set`]; [`RecordError::Rlp`] when `value` is not exactly one item.
    pub fn set_raw(&mut self, key: &str, value: &[u8]) -> Result<(), RecordError> {
        self.try_change(key, |entries| Ok(entries.set_raw(key, value)?))
    }

    /// Removes an entry.
    pub fn remove(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn try_change(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut Entries) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        if matches!(key, "id" | "secp256k1" | "ip" | "ip6" | "udp" | "udp6") {
            return Err(RecordError::Reserved);
        }
        let mut entries = self.entries.clone();
        change(&mut entries)?;
        // Both addresses and their ports may come later: there must be room for them.
        let mut full = entries.clone();
        full.set_ip(IpAddr::from([255; 4]));
        full.set_ip(IpAddr::from([0xfd; 16]));
        full.set_port(Port::Udp, Some(u16::MAX));
        full.set_port(Port::Udp6, Some(u16::MAX));
        full.sign(&self.key, u64::MAX)?;
        self.entries = entries;
        Ok(())
    }

    /// Sets or removes the TCP port where connections are taken.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`].
    pub fn set_tcp(&mut self, port: Option<u16>) -> Result<(), RecordError> {
        self.try_change("tcp", |entries| {
            entries.set_port(Port::Tcp, port);
            Ok(())
        })
    }

    fn side(&mut self, ip: IpAddr) -> &mut Side {
        if ip.to_canonical().is_ipv4() { &mut self.four } else { &mut self.six }
    }

    /// Sets an address by hand: no prediction is made for its family.
    pub fn set_static_ip(&mut self, ip: IpAddr) {
        self.side(ip).fixed = Some(ip.to_canonical());
    }

    /// Takes an address that was set by hand away.
    pub fn remove_static_ip(&mut self, ip: IpAddr) {
        self.side(ip).fixed = None;
    }

    /// Sets the address to name while none is set or predicted.
    pub fn set_fallback_ip(&mut self, ip: IpAddr) {
        self.side(ip).fallback = Some(ip.to_canonical());
    }

    /// Sets the UDP port that goes with an address that is not predicted; 0 for none.
    pub fn set_fallback_udp(&mut self, port: u16) {
        self.udp = port;
    }

    /// A peer says where packets of ours came from.
    pub fn stated(&mut self, by: IpAddr, endpoint: SocketAddr, now: Duration) {
        let (by, ip) = (by.to_canonical(), endpoint.ip().to_canonical());
        // One who is reached by IPv4 knows nothing of our IPv6 address.
        if ip.is_unspecified() || ip.is_multicast() || endpoint.port() == 0 || by.is_ipv4() != ip.is_ipv4() {
            return;
        }
        self.side(ip).tracker.state(by, SocketAddr::new(ip, endpoint.port()), now);
    }

    /// We sent something to a host.
    pub fn contacted(&mut self, host: IpAddr, now: Duration) {
        self.side(host).tracker.contact(host.to_canonical(), now);
    }

    /// Whether hosts reach us in a family (IPv6 or IPv4) that we never sent anything to: a gateway that lets
    /// everybody in, or none.
    pub fn is_full_cone(&mut self, ipv6: bool, now: Duration) -> bool {
        let rules = self.rules;
        let side = if ipv6 { &mut self.six } else { &mut self.four };
        side.tracker.expire(&rules, now);
        side.tracker.full_cone()
    }

    /// Signs the record anew if what it says has changed, and gives it then. Its sequence number is to be kept
    /// for the next run before anybody sees it.
    pub fn update(&mut self, now: Duration) -> Option<Arc<Record>> {
        if self.updated.is_some_and(|then| now.saturating_sub(then) < THROTTLE) {
            return None;
        }
        let mut entries = self.entries.clone();
        let rules = self.rules;
        for side in [&mut self.four, &mut self.six] {
            side.tracker.expire(&rules, now);
        }
        let four = self.four.endpoint(&rules, self.udp);
        let six = self.six.endpoint(&rules, self.udp);
        let port = |at: Option<SocketAddr>| at.map(|at| at.port()).filter(|port| *port != 0);
        let (udp, udp6) = (port(four), port(six));
        four.into_iter().chain(six).for_each(|at| entries.set_ip(at.ip()));
        // Without an IPv4 address the common port is IPv6's; a second one is written only where it differs.
        entries.set_port(Port::Udp, udp.or(udp6).or((self.udp != 0).then_some(self.udp)));
        entries.set_port(Port::Udp6, udp6.filter(|six| udp.is_some_and(|four| four != *six)));
        if entries.says_what(self.current.entries()) && self.updated.is_some() {
            return None;
        }
        let seq = match self.updated {
            None => self.current.seq(),
            Some(_) => self.current.seq().saturating_add(1),
        };
        // Room for addresses and ports was kept, so this does not fail.
        let record = Arc::new(entries.sign(&self.key, seq).ok()?);
        self.updated = Some(now);
        self.current = record.clone();
        Some(record)
    }
}

#[cfg(test)]
mod tests;
