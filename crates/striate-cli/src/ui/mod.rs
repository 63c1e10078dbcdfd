//! `striate train --ui`: a run on the whole screen.
//!
//! The run goes on in its own thread and tells what happens; another one draws and listens to keys.

mod draw;
mod process;
mod state;

use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io;
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use striate::prelude::*;

use crate::failure::Result;
use crate::signals::{self, INTERRUPTED};
use process::Process;
use state::State;

/// How long a key is waited for before the screen is drawn again.
const TICK: Duration = Duration::from_millis(125);

/// A run on the whole screen, until it is dropped.
pub(crate) struct Screen {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Asks the run to stop.
    stop: Arc<AtomicBool>,
    paused: AtomicBool,
    /// The run is over.
    over: AtomicBool,
}

impl Screen {
    /// Takes the screen for a run of `epochs` epochs called `title`; `facts` are names and values that do not change.
    pub(crate) fn take(
        title: String,
        epochs: u64,
        facts: Vec<(String, String)>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        // Panics put the terminal in order before they tell why.
        let mut terminal = ratatui::try_init()?;
        signals::before_the_end(Some(ratatui::restore));
        let state = Mutex::new(State::new(title, epochs, facts));
        let (paused, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Arc::new(Shared { state, stop, paused, over });
        let seen = shared.clone();
        let thread = thread::spawn(move || {
            let mut process = Process::default();
            while !seen.over.load(Ordering::Relaxed) {
                let (cpu, memory) = process.measure();
                {
                    let mut state = seen.state();
                    (state.cpu, state.memory) = (cpu, memory);
                    state.paused = seen.paused.load(Ordering::Relaxed);
                    state.stopping = seen.stop.load(Ordering::Relaxed);
                }
                let drawn = terminal.draw(|frame| draw::draw(frame, &seen.state()));
                if drawn.is_err() || seen.keys().is_err() {
                    // The terminal is gone: so is whoever watched. The run goes on.
                    break;
                }
            }
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Adds a message.
    pub(crate) fn say(&self, line: &str) {
        self.shared.state().say(line);
    }

    /// Hears what happens; waits here while the run is paused.
    pub(crate) fn observe(&self, event: Event) {
        self.shared.state().observe(event);
        let waits =
            || self.shared.paused.load(Ordering::Relaxed) && !self.shared.stop.load(Ordering::Relaxed);
        while matches!(event, Event::Step(_)) && waits() {
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Gives the screen back.
    pub(crate) fn finish(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
            ratatui::restore();
            signals::before_the_end(None);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits a moment for keys and does what they ask for.
    fn keys(&self) -> io::Result<()> {
        let mut wait = TICK;
        while event::poll(wait)? {
            wait = Duration::ZERO;
            if let Input::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
            {
                self.key(key);
            }
        }
        Ok(())
    }

    fn key(&self, key: KeyEvent) {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') | KeyCode::Char('c') if control || key.code == KeyCode::Char('q') => {
                if self.stop.swap(true, Ordering::Relaxed) {
                    ratatui::restore();
                    eprintln!("stopped at once");
                    exit(INTERRUPTED.into());
                }
                self.state().say("stopping after this step; once more ends at once");
            }
            KeyCode::Char('p') | KeyCode::Char(' ') => {
                self.paused.fetch_xor(true, Ordering::Relaxed);
            }
            KeyCode::Tab | KeyCode::Right => self.state().turn(1),
            KeyCode::BackTab | KeyCode::Left => self.state().turn(-1),
            _ => {}
        }
    }
}
