//! Runs services: starts them in order, restarts what failed, stops them in reverse.

use super::{
    OnFailure, START_WITHIN, STOP_WITHIN, Service, ServiceContext, ServiceError, ServiceStatus, State,
};
use crate::event::Event;
use crate::text::printable;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A service with what it does now.
type Kept = (Arc<dyn Service>, State);

/// Every service of a Switch with what it does now.
#[derive(Clone, Default)]
pub(crate) struct Services {
    states: Arc<Mutex<Vec<Kept>>>,
}

impl Services {
    fn set(&self, index: usize, state: State) {
        if let Some(entry) = self.states.lock().get_mut(index) {
            entry.1 = state;
        }
    }

    /// As the operator sees them, in order of registration.
    pub(crate) fn status(&self) -> Vec<ServiceStatus> {
        let states = self.states.lock().clone();
        let status = |(service, state): (Arc<dyn Service>, State)| ServiceStatus {
            name: service.name().to_owned(),
            state,
            figures: service.figures(),
        };
        states.into_iter().map(status).collect()
    }
}

/// A service's task, and how it is told to stop.
pub(crate) struct Running {
    name: String,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// A service that is prepared but does not run yet.
pub(crate) struct Prepared {
    service: Arc<dyn Service>,
    context: ServiceContext,
    stop: watch::Sender<bool>,
}

impl Prepared {
    /// Starts a service: what it must do before the node counts as started.
    pub(crate) async fn start(
        service: Arc<dyn Service>,
        context: impl FnOnce(watch::Receiver<bool>) -> ServiceContext,
    ) -> Result<Self, ServiceError> {
        let (stop, stopping) = watch::channel(false);
        let context = context(stopping);
        let started = tokio::time::timeout(START_WITHIN, service.start(&context)).await;
        started.unwrap_or_else(|_| Err(ServiceError::new("it did not start in time")))?;
        Ok(Self { service, context, stop })
    }

    /// Runs it. `halt` makes the Switch stop.
    pub(crate) fn run(self, services: &Services, halt: watch::Sender<bool>) -> Running {
        let Self { service, context, stop } = self;
        let index = {
            let mut states = services.states.lock();
            states.push((Arc::clone(&service), State::Running));
            states.len() - 1
        };
        let name = service.name().to_owned();
        let task = tokio::spawn(keep_running(index, service, context, services.clone(), halt));
        Running { name, stop, task }
    }
}

async fn keep_running(
    index: usize,
    service: Arc<dyn Service>,
    context: ServiceContext,
    services: Services,
    halt: watch::Sender<bool>,
) {
    let mut failures = 0_u32;
    loop {
        services.set(index, State::Running);
        let since = Instant::now();
        // A task of its own, so that a panic is a failure like others; it ends with this one.
        let mut run = AbortOnDrop(tokio::spawn(Arc::clone(&service).run(context.clone())));
        let error = match (&mut run.0).await {
            Ok(Ok(())) => return services.set(index, State::Done),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        let detail = printable(&error);
        if context.is_stopping() {
            return services.set(index, State::Failed { detail });
        }
        let wait = match service.on_failure() {
            OnFailure::Restart { first, most } => {
                failures = if since.elapsed() > most { 0 } else { failures };
                Some(first.saturating_mul(1 << failures.min(16)).min(most))
            }
            OnFailure::StopNode | OnFailure::GiveUp => None,
        };
        failures = failures.saturating_add(1);
        tracing::warn!(target: "switchboard::service", service = service.name(), %detail, ?wait, "a service failed");
        let failed = Event::ServiceFailed {
            service: service.name().to_owned(),
            detail: detail.clone(),
            restart_in: wait,
        };
        context.context.emit(failed);
        let Some(wait) = wait else {
            services.set(index, State::Failed { detail });
            if service.on_failure() == OnFailure::StopNode {
                let _ = halt.send(true);
            }
            return;
        };
        services.set(index, State::Waiting { detail, failures });
        tokio::select! {
            () = context.stopping() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct AbortOnDrop(JoinHandle<Result<(), ServiceError>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Stops services one after the other, the last started first.
pub(crate) async fn stop_all(running: Vec<Running>, within: Duration) {
    let deadline = Instant::now() + within;
    for Running { name, stop, mut task } in running.into_iter().rev() {
        let _ = stop.send(true);
        let until = deadline.min(Instant::now() + STOP_WITHIN);
        if tokio::time::timeout_at(until, &mut task).await.is_err() {
            tracing::warn!(target: "switchboard::service", service = name, "did not stop in time: aborted");
            task.abort();
            let _ = task.await;
        }
    }
}
