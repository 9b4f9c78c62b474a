//! A shop as an environment: visitors whose session depends on the lists that they are shown.
//!
//! [`Shop`] is the catalogue of a [`ShopWorld`]; [`Visit`] is one session in it, which takes a list
//! before each event and answers with the event or the end. [`roll_out`] runs many visits against
//! anything that makes lists ([`Lists`]). A visit is a function of the seed, its number and the
//! lists; the random numbers of its step `t` are the same under all lists, so that the difference
//! of two ways to make lists has a small variance. `docs/simulator.md` has the equations, and says
//! what is fitted to a real log and what is assumed.
//!
//! ```
//! use prl_synth::shop::{Popular, Shop, ShopWorld, roll_out};
//!
//! let shop = Shop::new(ShopWorld::named("base")?);
//! let mut popular = Popular::new(&shop, 20);
//! let visits = roll_out(&shop, 7, 0..100, &mut popular, 32)?;
//! assert!(visits.iter().all(|visit| visit.events().len() >= 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalogue;
mod lists;
mod log;
mod moments;
mod rollout;
mod visit;
mod world;

pub use catalogue::{DIM, Shop};
pub use lists::{Best, BestBy, Lists, NoLists, Popular, Random};
pub use log::{ShopLog, synth_shop};
pub use moments::{LogEvent, MOMENTS, Moment, Moments};
pub use rollout::roll_out;
pub use visit::{MAX_EVENTS, ShopEvent, Visit};
pub use world::{Assumed, Fitted, ShopWorld, target, worlds};
