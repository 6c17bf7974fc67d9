//! Marked points at which a test can hold this process, to kill it or freeze it just there. Compiled
//! only with the feature `fail-points`; without it nothing of this is in the program.
//!
//! A test makes a file of the point's name in the folder that `FAIL_POINTS` names. The first thread
//! that comes to the point makes `NAME.reached` of it and stands still, and everything that runs on
//! that thread with it, until that file is gone.

/// Marks a point.
macro_rules! fail_point {
    ($name:literal) => {
        #[cfg(feature = "fail-points")]
        $crate::fail_points::reach($name)
    };
}
pub(crate) use fail_point;

/// Stands still here, if a test wants it.
#[cfg(feature = "fail-points")]
#[allow(
    clippy::disallowed_methods,
    reason = "this is no setting of the program's"
)]
pub(crate) fn reach(name: &str) {
    use std::{env, fs, path::Path, thread, time::Duration};

    let Ok(folder) = env::var("FAIL_POINTS") else {
        return;
    };
    let reached = Path::new(&folder).join(format!("{name}.reached"));
    if fs::rename(Path::new(&folder).join(name), &reached).is_ok() {
        while reached.exists() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
