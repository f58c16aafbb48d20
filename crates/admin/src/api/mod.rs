//! The requests, by path. Their schema, with every field, is `docs/admin.md`; the version stands in the path.
//!
//! | request | does |
//! |---|---|
//! | `GET /v1/node`, `/v1/peers`, `/v1/peers/ID`, `/v1/candidates`, `/v1/bans`, `/v1/limits`, `/v1/config`, `/v1/log` | tells |
//! | `GET /v1/events` | tells what happens, one JSON object a line, until the caller leaves |
//! | `POST /v1/peers/add`, `remove`, `trust`, `ban`, `unban` | changes whom the node keeps |
//! | `PUT /v1/log`, `POST /v1/reload`, `POST /v1/stop` | changes the node |
//! | `GET /metrics`, `/health`, `/ready` | for monitors |
//!
//! An error is `{"error": "a sentence"}` with its code: 400 for what was asked, 404 for what is not there, 409 for what
//! does not go now, 500 for a disk that fails, 503 for a node that is going.

mod changes;
mod show;

use crate::control::Control;
use crate::guard::{Guard, Standing};
use crate::metrics::{self, Lag, Names};
use crate::serve::{ANSWER_WITHIN, BODY_WITHIN, MAX_BODY, STREAMS};
use crate::time::rfc3339;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State as Shared};
use axum::http::{Request, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::StreamExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// The version of the schema: a field may be added within it, none changed or removed.
pub const VERSION: &str = "v1";

/// What every request has.
pub struct State {
    pub(crate) control: Arc<dyn Control>,
    names: Names,
    lag: Lag,
    streams: Arc<Semaphore>,
}

impl State {
    pub(crate) fn new(control: Arc<dyn Control>, names: Names, lag: Lag) -> Self {
        Self { control, names, lag, streams: Arc::new(Semaphore::new(STREAMS)) }
    }
}

/// Why a request is not answered with what was asked for.
#[derive(Debug)]
pub(crate) struct Refusal(StatusCode, String);

impl Refusal {
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }

    pub(crate) fn missing(text: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, text.into())
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, text.into())
    }

    pub(crate) fn conflict(text: impl Into<String>) -> Self {
        Self(StatusCode::CONFLICT, text.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, answer(&json!({"error": self.1}))).into_response()
    }
}

fn answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], format!("{value}\n"))
        .into_response()
}

type Answer = Result<Response, Refusal>;
type Node = Shared<Arc<State>>;

/// The requests behind their guard.
pub(crate) fn router(guard: Arc<Guard>, state: Arc<State>, stopped: watch::Receiver<bool>) -> Router {
    let events = {
        let stopped = stopped.clone();
        move |Shared(state): Node| follow(state, stopped.clone())
    };
    let answered = Router::new()
        .route("/health", get(async || "ok\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(scrape))
        .route("/v1/node", get(async |Shared(node): Node| answer(&show::node(&node.control).await)))
        .route("/v1/peers", get(async |Shared(node): Node| answer(&show::peers(&node.control))))
        .route("/v1/peers/{id}", get(one_peer))
        .route(
            "/v1/candidates",
            get(async |Shared(node): Node| answer(&show::candidates(&node.control).await)),
        )
        .route("/v1/bans", get(async |Shared(node): Node| answer(&show::bans(&node.control).await)))
        .route("/v1/limits", get(async |Shared(node): Node| answer(&show::limits(&node.control).await)))
        .route("/v1/config", get(async |Shared(node): Node| answer(&node.control.configuration())))
        .route("/v1/peers/add", post(changes::add))
        .route("/v1/peers/remove", post(changes::remove))
        .route("/v1/peers/trust", post(changes::trust))
        .route("/v1/peers/ban", post(changes::ban))
        .route("/v1/peers/unban", post(changes::unban))
        .route("/v1/log", get(changes::log).put(changes::set_log))
        .route("/v1/reload", post(changes::reload))
        .route("/v1/stop", post(changes::stop))
        .fallback(async || Refusal::missing("no such request: see docs/admin.md"))
        .method_not_allowed_fallback(async || {
            Refusal(StatusCode::METHOD_NOT_ALLOWED, "this path is asked otherwise: see docs/admin.md".into())
        })
        .layer(from_fn(in_time));
    answered
        .route("/v1/events", get(events))
        .layer(from_fn(whole_body))
        .layer(from_fn(move |mut request: Request<Body>, next: Next| {
            let verdict = guard.judge(&request);
            async move {
                match verdict {
                    Ok(standing) => {
                        request.extensions_mut().insert(standing);
                        next.run(request).await
                    }
                    Err((code, text)) => Refusal(code, text.into()).into_response(),
                }
            }
        }))
        .with_state(state)
}

/// Reads the body before anything else is done, within its limits.
async fn whole_body(request: Request<Body>, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let read = timeout(BODY_WITHIN, Limited::new(body, MAX_BODY).collect()).await;
    let refusal = match read {
        Ok(Ok(body)) => {
            return next.run(Request::from_parts(parts, Body::from(body.to_bytes()))).await;
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {MAX_BODY} bytes"))
        }
        Ok(Err(_)) => Refusal::bad("the body broke off"),
        Err(_) => Refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".into()),
    };
    let mut response = refusal.into_response();
    // What is left of the body is not waited for.
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}

async fn in_time(request: Request<Body>, next: Next) -> Response {
    let late = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "the node does not answer in time".into());
    timeout(ANSWER_WITHIN, next.run(request)).await.unwrap_or_else(|_| late().into_response())
}

/// Why it is not ready is for those who may ask the rest, too.
async fn ready(Shared(state): Node, Extension(standing): Extension<Standing>) -> Answer {
    match (state.control.ready(), standing) {
        (Ok(()), _) => Ok("ready\n".into_response()),
        (Err(why), Standing::Known) => Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, why)),
        (Err(_), Standing::Stranger) => Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "not ready".into())),
    }
}

async fn scrape(Shared(state): Node, request: Request<Body>) -> Answer {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let open = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let text = metrics::scrape(&*state.control, &state.lag, state.names, open).await;
    let text =
        text.map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written".into()))?;
    let kind = if open { metrics::OPEN_METRICS } else { metrics::PLAIN };
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn one_peer(Shared(state): Node, Path(id): Path<String>) -> Answer {
    let peer = changes::connected(&state.control, &id)?;
    Ok(answer(&show::peer(&state.control, &peer)))
}

/// Events until the caller leaves or the node goes.
async fn follow(state: Arc<State>, mut stopped: watch::Receiver<bool>) -> Answer {
    let Ok(place) = Arc::clone(&state.streams).try_acquire_owned() else {
        return Err(Refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{STREAMS} callers follow events already"),
        ));
    };
    let first = json!({"event": "subscribed", "time": rfc3339(state.control.now()), "api": VERSION});
    let gone = async move {
        // Held as long as the stream is.
        let _place = place;
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let events = futures_util::stream::iter([first]).chain(state.control.events());
    let lines = events
        .take_until(Box::pin(gone))
        .map(|event| Ok::<_, std::io::Error>(Bytes::from(format!("{event}\n"))));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}
