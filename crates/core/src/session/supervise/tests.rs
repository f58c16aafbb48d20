//! What ends a session and who is at fault.

use super::*;

#[test]
fn only_who_is_not_at_fault_gets_what_was_queued() {
    for reason in [Reason::Requested, Reason::Quitting, Reason::TooManyPeers, Reason::AlreadyConnected] {
        assert!(!is_fault(&reason), "{reason}");
    }
    for reason in [Reason::Breach("x"), Reason::MemoryCap, Reason::IdleTimeout, Reason::LocalFault] {
        assert!(is_fault(&reason), "{reason}");
    }
}

#[tokio::test]
async fn what_the_end_of_a_protocol_means() {
    let done = |result| Ok(("p".into(), result));
    assert!(judge(done(Ok(())), WhenDone::Last, false).is_none(), "others still run");
    assert!(judge(done(Err(ProtocolError::Closed)), WhenDone::Last, false).is_none());
    assert_eq!(judge(done(Ok(())), WhenDone::Last, true).unwrap().reason, Reason::Quitting);
    let end = judge(done(Err(ProtocolError::Breach("rule"))), WhenDone::Last, false).unwrap();
    assert_eq!(
        (end.reason, end.by, end.detail.as_deref()),
        (Reason::Breach("rule"), By::Us, Some("p: breach of protocol: rule"))
    );
    let gone = tokio::spawn(std::future::pending::<()>());
    gone.abort();
    let end = judge(Err(gone.await.unwrap_err()), WhenDone::Last, false).unwrap();
    assert_eq!(end.reason, Reason::ProtocolError);
}

#[tokio::test]
async fn where_the_wire_says_so_the_first_protocol_ends_the_session() {
    let done = |result| Ok(("p".into(), result));
    for result in [Ok(()), Err(ProtocolError::Closed)] {
        assert_eq!(judge(done(result), WhenDone::First, false).unwrap().reason, Reason::Quitting);
    }
}

#[test]
fn the_parts_of_a_session_fit_their_size_classes() {
    use crate::session::outgoing::Outgoing;
    use crate::session::reader::RecvLane;
    use crate::switch::peer::Inner;
    // An allocator gives 640 bytes to whoever asks for one more than 512, for as long as the session lives.
    let counts = 2 * size_of::<usize>();
    assert!(size_of::<Inner>() + counts <= 512, "{}", size_of::<Inner>());
    assert!(size_of::<Outgoing>() + counts <= 512, "{}", size_of::<Outgoing>());
    assert!(size_of::<RecvLane>() <= 16, "{}", size_of::<RecvLane>());
}
