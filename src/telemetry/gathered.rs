//! Lines of the access log on their way out. Those that come within a moment of each other are
//! written together, by a thread of their own: a system call for each would cost as much as writing
//! the line does, and who reads standard error slowly would hold up requests.
//!
//! Locks are taken in this order: [`WRITING`], [`THREADS`], a thread's own lines, [`SOME`]. Nothing is
//! logged under any of them.

use std::{
    cell::Cell,
    io::{self, Write as _},
    mem,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::timestamp;

/// How long a line waits for others at most: too short for anybody who looks at a log to notice.
const MOMENT: Duration = Duration::from_millis(20);

/// Room that each thread keeps from one time to the next: for a thousand lines a moment, fifty thousand
/// a second.
const KEPT_BYTES: usize = 512 * 1024;

/// Some twenty thousand lines, of all threads. Whoever adds more writes them out first, and so waits
/// for the reader: memory must stay bounded, and no line gets lost.
const MOST_BYTES: usize = 12 << 20;

/// How many bytes each thread may have waiting.
static SHARE: AtomicUsize = AtomicUsize::new(MOST_BYTES);

/// What waits, of each thread that ever added a line. Workers last as long as the process, but for one
/// that could not be restarted.
static THREADS: Mutex<Vec<&Mutex<Waiting>>> = Mutex::new(Vec::new());

/// Held while lines are taken and written, so that those of a thread stay in their order. The memory
/// is what taken lines are exchanged for: fresh memory would have to be mapped and grown each time.
static WRITING: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Whether lines wait that the writing thread doesn't know of, and what wakes it.
static SOME: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

thread_local! {
    /// Each thread has lines of its own: workers that added to the same ones would wait for each other,
    /// and for each other's memory. The lines outlive their thread: what it drops at its very end may add
    /// one.
    static OWN: Cell<Option<&'static Mutex<Waiting>>> = const { Cell::new(None) };
}

/// The lines of one thread.
#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    time: Stamp,
}

/// Starts the thread that writes what is gathered.
pub(super) fn start() -> io::Result<()> {
    let named = thread::Builder::new().name("access-log".to_owned());
    named.spawn(|| {
        loop {
            wait_for_some();
            thread::sleep(MOMENT);
            flush();
        }
    })?;
    Ok(())
}

/// Adds a line, which `write` appends, with the present time.
pub(super) fn add(write: impl FnOnce(&mut Vec<u8>, &str)) {
    let own = OWN.get().unwrap_or_else(register);
    if held(own).lines.len() >= SHARE.load(Relaxed) {
        flush();
    }
    let mut own = held(own);
    if own.lines.is_empty() {
        *held(&SOME.0) = true;
        SOME.1.notify_one();
    }
    let Waiting { lines, time } = &mut *own;
    write(lines, time.at(SystemTime::now()));
}

fn register() -> &'static Mutex<Waiting> {
    let own = Box::leak(Box::default());
    OWN.set(Some(own));
    let mut threads = held(&THREADS);
    threads.push(own);
    SHARE.store(MOST_BYTES / threads.len(), Relaxed);
    own
}

/// Writes what there is, now.
pub(super) fn flush() {
    let mut lines = held(&WRITING);
    // A copy: whoever adds a first line has no need to wait for this writing.
    let threads = held(&THREADS).clone();
    for waiting in threads {
        mem::swap(&mut *lines, &mut held(waiting).lines);
        // A log that can't be written is nothing that could be logged.
        let _ = io::stderr().write_all(&lines);
        lines.clear();
        lines.shrink_to(KEPT_BYTES);
    }
}

fn wait_for_some() {
    let there_are = held(&SOME.0);
    let there_are = SOME.1.wait_while(there_are, |there_are| !*there_are);
    *there_are.unwrap_or_else(PoisonError::into_inner) = false;
}

/// A panic under one of these locks would leave half a line at worst.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The present time as text, which is made anew only with each millisecond.
#[derive(Default)]
struct Stamp {
    millis: u128,
    text: String,
}

impl Stamp {
    fn at(&mut self, now: SystemTime) -> &str {
        let millis = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        if self.millis != millis {
            self.millis = millis;
            self.text = timestamp(now);
        }
        &self.text
    }
}
