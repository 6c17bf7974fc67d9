//! Lines of the access log on their way out. Those that come within a moment of each other are
//! written together, by a thread of their own: a system call for each would cost as much as writing
//! the line does, and who reads standard error slowly would hold up requests.

use std::{
    io::{self, Write as _},
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// How long a line waits for others at most: too short for anybody who looks at a log to notice.
const MOMENT: Duration = Duration::from_millis(20);

/// Room that is kept from one time to the next: what a thousand lines a moment, fifty thousand a second,
/// take.
const KEPT_BYTES: usize = 1 << 20;

/// Some twenty thousand lines. Whoever adds more writes them out first, and so waits for the reader:
/// memory must stay bounded, and no line gets lost.
const MOST_BYTES: usize = 12 << 20;

static GATHERED: Gathered = Gathered {
    lines: Mutex::new(Vec::new()),
    some: Condvar::new(),
    writing: Mutex::new(Vec::new()),
};

struct Gathered {
    lines: Mutex<Vec<u8>>,
    /// Told when there is a first line.
    some: Condvar,
    /// Held while lines are taken and written, so that they stay in their order. What they are exchanged
    /// for: fresh memory for each time would have to be mapped and grown.
    writing: Mutex<Vec<u8>>,
}

/// Starts the thread that writes what is gathered.
pub(super) fn start() -> io::Result<()> {
    let named = thread::Builder::new().name("access-log".to_owned());
    named.spawn(|| {
        loop {
            GATHERED.wait_for_some();
            thread::sleep(MOMENT);
            flush();
        }
    })?;
    Ok(())
}

/// Adds a line, with its end.
pub(super) fn add(line: &[u8]) {
    let mut lines = held(&GATHERED.lines);
    if lines.len() + line.len() > MOST_BYTES {
        drop(lines);
        flush();
        lines = held(&GATHERED.lines);
    }
    if lines.is_empty() {
        GATHERED.some.notify_one();
    }
    lines.extend_from_slice(line);
}

/// Writes what there is, now.
pub(super) fn flush() {
    let mut lines = held(&GATHERED.writing);
    mem::swap(&mut *lines, &mut *held(&GATHERED.lines));
    // A log that can't be written is nothing that could be logged.
    let _ = io::stderr().write_all(&lines);
    lines.clear();
    lines.shrink_to(KEPT_BYTES);
}

impl Gathered {
    fn wait_for_some(&self) {
        let lines = held(&self.lines);
        let some = self.some.wait_while(lines, |lines| lines.is_empty());
        drop(some.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Nothing that is done under these locks leaves their contents half changed.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
