//! How a run is watched: by lines and a bar, or on the whole screen.

use striate::prelude::*;

use crate::progress::Progress;

/// Whatever watches a run.
pub(crate) enum View {
    /// A line for each epoch.
    Lines(Progress),
    /// The whole screen.
    #[cfg(feature = "ui")]
    Screen(crate::ui::Screen),
}

impl View {
    /// Tells a line.
    pub(crate) fn say(&self, line: &str) {
        match self {
            View::Lines(progress) => progress.say(line),
            #[cfg(feature = "ui")]
            View::Screen(screen) => screen.say(line),
        }
    }

    /// Hears what happens.
    pub(crate) fn observe(&mut self, event: Event) {
        match self {
            View::Lines(progress) => progress.observe(event),
            #[cfg(feature = "ui")]
            View::Screen(screen) => screen.observe(event),
        }
    }

    /// Takes away what would be in the way of the result.
    pub(crate) fn finish(&mut self) {
        match self {
            View::Lines(progress) => progress.finish(),
            #[cfg(feature = "ui")]
            View::Screen(screen) => screen.finish(),
        }
    }
}
