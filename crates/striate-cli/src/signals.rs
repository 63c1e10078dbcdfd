//! Ctrl-C and its relatives: the first one asks to stop, the second one stops.

use std::io::Write;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::failure::{Failure, Result};

/// The exit code of what was interrupted: 128 and the number of SIGINT, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// What is done before the process ends at a second signal.
static LAST_ACT: Mutex<Option<fn()>> = Mutex::new(None);

/// Has `act` done before the process ends at a second signal: a terminal put in order.
#[cfg(feature = "ui")]
pub(crate) fn before_the_end(act: Option<fn()>) {
    *LAST_ACT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = act;
}

/// A flag that SIGINT, SIGTERM or SIGHUP sets; `told` is called when it does, and a second signal ends the process at
/// once. To be called once.
pub(crate) fn stop_flag(told: impl Fn() + Send + 'static) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            let act = LAST_ACT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            if let Some(act) = act {
                act();
            }
            let _ = writeln!(std::io::stderr(), "\nstopped at once");
            process::exit(INTERRUPTED.into());
        }
        told();
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::new(format!("signals cannot be heard: {error}")))?;
    Ok(stop)
}
