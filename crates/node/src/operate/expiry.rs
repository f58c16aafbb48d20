//! Warns of certificates that expire: from [`WARN_WITHIN`] on, once a day, and once more when it is over.

use super::{Inner, time};
use std::sync::Weak;
use std::time::Duration;

/// From so long before its end on a certificate is worth a warning.
pub(super) const WARN_WITHIN: Duration = Duration::from_secs(30 * 86_400);
/// How often it is looked.
const EVERY: Duration = Duration::from_secs(86_400);

/// Looks until the node is gone.
pub(super) async fn watch(inner: Weak<Inner>) {
    while let Some(inner) = inner.upgrade() {
        look(&inner);
        drop(inner);
        tokio::time::sleep(EVERY).await;
    }
}

fn look(inner: &Inner) {
    let now = inner.env.wall();
    for found in inner.certificates() {
        let (wire, what, until) = (found.wire, found.what, time::rfc3339(found.expires));
        match found.expires.duration_since(now) {
            Err(_) => tracing::error!(target: "switchboard::operate", wire, what, %until,
                "a certificate has expired: renew it (keygen --renew), then reload"),
            Ok(left) if left < WARN_WITHIN => {
                tracing::warn!(target: "switchboard::operate", wire, what, %until,
                days = left.as_secs() / 86_400, "a certificate expires soon: renew it (keygen --renew), then reload")
            }
            Ok(_) => {}
        }
    }
}
