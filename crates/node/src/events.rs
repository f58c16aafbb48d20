//! Events of casts, as JSON and as text. All remote text is escaped.

use serde_json::{Value, json};
use switchboard::text::printable;
use switchboard_cast::CastEvent;

/// A cast's event; `None` for one that has no words.
#[must_use]
pub fn cast_event(event: &CastEvent) -> Option<(Value, String)> {
    Some(match event {
        CastEvent::Started { id, sha256, bytes } => (
            json!({"event": "cast_started", "id": id.to_string(), "sha256": hex::encode(sha256), "bytes": bytes}),
            format!("cast {id} of {bytes} bytes started"),
        ),
        CastEvent::Learned { id, name, bytes, hops, .. } => (
            json!({"event": "cast_learned", "id": id.to_string(), "name": printable(name), "bytes": bytes, "hops": hops}),
            format!("cast {id}: {} ({bytes} bytes)", printable(name)),
        ),
        CastEvent::Resumed { id, held, total } => (
            json!({"event": "cast_resumed", "id": id.to_string(), "held": held, "chunks": total}),
            format!("cast {id} taken up again with {held} of {total} chunks"),
        ),
        CastEvent::Progress { id, held, total } => (
            json!({"event": "cast_progress", "id": id.to_string(), "held": held, "chunks": total}),
            String::new(),
        ),
        CastEvent::Done { id, sha256, bytes, hops, path } => {
            let file = path.as_ref().map(|p| p.display().to_string());
            let text = format!("cast {id} complete: {}", file.as_deref().unwrap_or("in memory"));
            let value = json!({"event": "cast_done", "id": id.to_string(), "sha256": hex::encode(sha256),
                "bytes": bytes, "hops": hops, "file": file});
            (value, text)
        }
        CastEvent::Ignored { id, why } => (
            json!({"event": "cast_ignored", "id": id.to_string(), "why": why}),
            format!("cast {id} ignored: {why}"),
        ),
        CastEvent::NotStarted { path, error } => {
            let (path, error) = (printable(&path.display().to_string()), printable(error));
            let text = format!("{path} is not cast: {error}");
            (json!({"event": "cast_not_started", "path": path, "error": error}), text)
        }
        CastEvent::Forgotten { id, why } => (
            json!({"event": "cast_forgotten", "id": id.to_string(), "why": why}),
            format!("cast {id} forgotten: {why}"),
        ),
        CastEvent::Failed { id, error } => {
            let error = printable(error);
            (
                json!({"event": "cast_failed", "id": id.to_string(), "error": error}),
                format!("cast {id} failed: {error}"),
            )
        }
        _ => return None,
    })
}
