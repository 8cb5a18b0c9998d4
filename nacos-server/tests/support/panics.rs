//! Counts the panics of the server's own code. A handler's panic becomes an answer, and that of a task a line of log:
//! neither may happen on input, however it is answered.

use std::sync::{Mutex, Once};

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to count; a second call does nothing.
pub fn watch() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let own = info.location().is_some_and(|place| place.file().contains("tests/"));
            if !own {
                SEEN.lock().unwrap().push(info.to_string());
            }
            before(info);
        }));
    });
}

/// The panics since [`watch`] in code that is none of the tests'.
pub fn seen() -> Vec<String> {
    SEEN.lock().unwrap().clone()
}
