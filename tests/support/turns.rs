//! Whose turn it is: tests share two cores and a few brokers. Most wait for most of their time, so that three of them may be under way
//! side by side, each with clusters of its own; what measures is alone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// So many tests may be under way at the same time.
pub const PLACES: usize = 3;

static OTHERS: RwLock<()> = RwLock::new(());
static TAKEN: Mutex<[bool; PLACES]> = Mutex::new([false; PLACES]);
static LEFT: Condvar = Condvar::new();

/// A test's turn. Hold it to the end of the test.
pub enum Turn {
    /// Nobody else is under way.
    Alone(#[allow(dead_code, reason = "it is held")] RwLockWriteGuard<'static, ()>),
    /// Others may be, at other places. The place is left before the others are.
    Beside(Place, #[allow(dead_code, reason = "it is held")] RwLockReadGuard<'static, ()>),
}

/// A place among those under way, by its number.
pub struct Place(usize);

impl Turn {
    /// Waits until nobody is under way, and keeps it so.
    pub fn alone() -> Self {
        Self::Alone(OTHERS.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a place.
    pub fn beside() -> Self {
        Self::at(|_| true)
    }

    /// Waits for one of these places.
    fn at(is_wanted: impl Fn(usize) -> bool) -> Self {
        let others = OTHERS.read().unwrap_or_else(PoisonError::into_inner);
        let mut taken = taken();
        loop {
            if let Some(place) = (0..PLACES).find(|place| is_wanted(*place) && !taken[*place]) {
                taken[place] = true;
                return Self::Beside(Place(place), others);
            }
            taken = LEFT.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The number of its place: whoever is alone has the first.
    pub const fn place(&self) -> usize {
        match self {
            Self::Alone(_) => 0,
            Self::Beside(Place(place), _) => *place,
        }
    }

    /// Lets others have their turns while something is waited for, and has the same place again then.
    pub fn give_way<T>(turn: &mut Option<Self>, wait: impl FnOnce() -> T) -> T {
        let own = match turn.take() {
            Some(Self::Beside(Place(own), _)) => Some(own),
            _ => None,
        };
        let waited = wait();
        *turn = Some(own.map_or_else(Self::alone, |own| Self::at(|place| place == own)));
        waited
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        taken()[self.0] = false;
        LEFT.notify_all();
    }
}

fn taken() -> MutexGuard<'static, [bool; PLACES]> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}
