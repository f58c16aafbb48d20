//! An HTTP/2 connection that is polled by a task of its own, or by whoever reads and writes its stream.
//!
//! ```text
//!   handshake, goodbye   socket ─▶ task ─▶ connection
//!   session              socket ─▶ reader ─▶ connection, then its data       no hop to another task,
//!                        writer ─ data ─▶ connection ─▶ socket               nor back
//! ```
//! Everything the connection waits for sets one flag. A caller that polls the connection anyway sees the flag when it is
//! done. Otherwise the flag wakes the reader, where one waits for data, or the task. So a round trip costs one wake-up
//! less on each side, and on a runtime with several threads it stays on its thread.
//!
//! Limits: only one caller polls at a time; a caller that finds it busy sets the flag and returns.
//! A reader that has been polled must go on reading or be dropped, as wake-ups go to it from then on.

use parking_lot::Mutex;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use switchboard::BoxFuture;

/// Who is woken, and whether somebody has to be.
#[derive(Default)]
struct Wakeups {
    /// How many are at work now.
    busy: u32,
    /// The connection has something to do.
    rung: bool,
    /// There is data for the reader.
    data: bool,
    /// The reader, while it waits for data.
    reader: Option<Waker>,
    task: Option<Waker>,
    /// The work is done.
    over: bool,
}

#[derive(Default)]
struct Bell(Mutex<Wakeups>);

impl Bell {
    fn ring(&self, what: impl FnOnce(&mut Wakeups)) {
        let mut state = self.0.lock();
        what(&mut state);
        let wake = state.due();
        drop(state);
        wake.into_iter().for_each(Waker::wake);
    }
}

impl Wakeups {
    /// Who has to be woken.
    fn due(&self) -> Option<Waker> {
        match (self.busy, &self.reader) {
            (0, Some(reader)) if self.data || self.rung => Some(reader.clone()),
            (0, None) if self.rung => self.task.clone(),
            _ => None,
        }
    }
}

/// What the connection rings.
struct Work(Arc<Bell>);

impl Wake for Work {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.ring(|state| state.rung = true);
    }
}

/// What the reader's stream rings.
struct Data(Arc<Bell>);

impl Wake for Data {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.ring(|state| state.data = true);
    }
}

/// A connection that is polled until its work is done.
pub(crate) struct SharedConnection {
    /// None when it is done.
    work: Mutex<Option<BoxFuture<'static, ()>>>,
    bell: Arc<Bell>,
    on_work: Waker,
    on_data: Waker,
}

impl SharedConnection {
    /// Starts the task.
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        let bell = Arc::new(Bell::default());
        let shared = Arc::new(Self {
            work: Mutex::new(Some(Box::pin(work))),
            on_work: Waker::from(Arc::new(Work(Arc::clone(&bell)))),
            on_data: Waker::from(Arc::new(Data(Arc::clone(&bell)))),
            bell,
        });
        let own = Arc::clone(&shared);
        tokio::spawn(poll_fn(move |cx| {
            own.bell.0.lock().task = Some(cx.waker().clone());
            let turn = own.turn();
            turn.work();
            drop(turn);
            if own.bell.0.lock().over { Poll::Ready(()) } else { Poll::Pending }
        }));
        shared
    }

    /// Begins a turn of work: until it ends, bells are only noted.
    pub(crate) fn turn(&self) -> Turn<'_> {
        self.bell.0.lock().busy += 1;
        Turn(self)
    }

    /// The reader waits no longer, or is gone.
    pub(crate) fn detach(&self) {
        self.bell.ring(|state| state.reader = None);
    }
}

/// Somebody's turn.
pub(crate) struct Turn<'a>(&'a SharedConnection);

impl Turn<'_> {
    /// Does what there is to do, unless somebody else is at it, who then does it again.
    pub(crate) fn work(&self) {
        let Some(mut work) = self.0.work.try_lock() else {
            self.0.bell.0.lock().rung = true;
            return;
        };
        self.0.bell.0.lock().rung = false;
        let Some(future) = work.as_mut() else { return };
        if future.as_mut().poll(&mut Context::from_waker(&self.0.on_work)).is_ready() {
            *work = None;
            let task = {
                let mut state = self.0.bell.0.lock();
                state.over = true;
                state.task.clone()
            };
            // It ends now, whoever did the last of the work.
            task.into_iter().for_each(Waker::wake);
        }
    }

    /// Does what came up since, if anything did.
    pub(crate) fn work_if_rung(&self) {
        let rung = self.0.bell.0.lock().rung;
        if rung {
            self.work();
        }
    }

    /// Asks the stream for data: `poll` gets the waker for it. Nothing yet means that `reader` is woken from now on.
    pub(crate) fn read<T>(
        self,
        reader: &Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        {
            let mut state = self.0.bell.0.lock();
            state.data = false;
            state.reader = None;
        }
        let polled = poll(&mut Context::from_waker(&self.0.on_data));
        if polled.is_pending() {
            self.0.bell.0.lock().reader = Some(reader.waker().clone());
        } else {
            // Taking data may have opened the window.
            self.work_if_rung();
        }
        polled
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.bell.ring(|state| state.busy -= 1);
    }
}

#[cfg(test)]
mod tests;
