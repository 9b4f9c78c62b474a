//! One visitor's session.

use prl_seed::Rng;

use super::catalogue::{
    DIM, Shop, Vector, category_items, category_of, fit, normal, uniform, vector,
};

/// Longest session; the visitor leaves then.
pub const MAX_EVENTS: usize = 200;
/// Random numbers of a step; all are drawn, used or not, so that equal steps of two sessions of one
/// number have equal random numbers.
const DRAWS: usize = 9;
/// Fit of an item outside the category of the visitor's intent.
const OUTSIDE: f64 = -1.0;
/// Probability that a new item without a list is of the category of the intent.
const INTENT: f64 = 0.9;
/// Budget: mean and standard deviation of its log over that of the category's prices.
const BUDGET: (f64, f64) = (0.3, 0.5);
/// Relevance is the logistic function of `SLOPE (fit - MIDDLE)`, without a price.
const SLOPE: f64 = 2.0;
const MIDDLE: f64 = 1.0;
/// Irrelevance of a list that neither keeps nor drives away a visitor.
const NEUTRAL: f64 = 0.75;

/// An event of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShopEvent {
    /// The item.
    pub item: u32,
    /// Whether it is a purchase, otherwise a view.
    pub purchase: bool,
    /// Position from 0 in the shown list, if the item was clicked there.
    pub shown_at: Option<u16>,
}

/// A visitor's session. The first event exists from the start: visitors arrive at an item.
#[derive(Clone, Debug)]
pub struct Visit<'a> {
    shop: &'a Shop,
    number: u64,
    rng: Rng,
    taste: Vector,
    category: u32,
    /// Log budget.
    budget: f64,
    /// Log-odds of leaving, before the lists' effect.
    leave: f64,
    /// Log-odds of a purchase, before the item's share.
    buy: f64,
    /// Mean irrelevance of the lists shown of late, above the neutral one.
    irritation: Option<f64>,
    events: Vec<ShopEvent>,
    /// Seen items in the order of their first event.
    seen: Vec<Seen>,
    has_left: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    item: u32,
    views: u32,
    is_bought: bool,
}

/// Random numbers of one step by their use.
struct Draws([f64; DRAWS]);

impl Draws {
    fn new(rng: &mut Rng) -> Self {
        let mut draws = [0.0; DRAWS];
        for draw in &mut draws {
            *draw = uniform(rng);
        }
        Self(draws)
    }

    const BUY: usize = 0;
    const LEAVE: usize = 1;
    const WISH: usize = 2;
    const CLICK: usize = 3;
    const BACK: usize = 4;
    const INTENT: usize = 5;
    const CATEGORY: usize = 6;
    const ITEM: usize = 7;
    const UNSEEN: usize = 8;
}

impl<'a> Visit<'a> {
    /// The visit of this number, at its first event.
    pub fn arrive(shop: &'a Shop, seed: u64, number: u64) -> Self {
        let mut rng = prl_seed::stream(seed, "shop visit", number);
        let fitted = &shop.world().fitted;
        let category = shop.category_at(uniform(&mut rng));
        let (patience, buyer) = (normal(&mut rng), normal(&mut rng));
        let budget = shop.category_price(category) + BUDGET.0 + BUDGET.1 * normal(&mut rng);
        let mut visit = Self {
            shop,
            number,
            taste: vector(&mut rng),
            rng,
            category,
            budget,
            leave: fitted.leave - fitted.patience * patience,
            buy: fitted.buy + fitted.buyers * buyer + fitted.patient_buyers * patience,
            irritation: None,
            events: Vec::new(),
            seen: Vec::new(),
            has_left: false,
        };
        let draws = Draws::new(&mut visit.rng);
        let item = visit.new_item(&draws);
        visit.open(item, None, &draws);
        visit
    }

    /// The shop.
    pub fn shop(&self) -> &'a Shop {
        self.shop
    }

    /// The number of the visit.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The events so far.
    pub fn events(&self) -> &[ShopEvent] {
        &self.events
    }

    /// Whether the visitor has left.
    pub fn has_left(&self) -> bool {
        self.has_left
    }

    /// The next event after a shown list, best first, or `None` if the visitor leaves. A list
    /// without items is none.
    pub fn act(&mut self, shown: &[u32]) -> Option<ShopEvent> {
        if self.has_left {
            return None;
        }
        let draws = Draws::new(&mut self.rng);
        let last = self.events.last().copied()?;
        if !last.purchase && self.may_buy(last.item) {
            let odds = self.purchase_odds(last.item);
            if draws.0[Draws::BUY] < logistic(odds) {
                return Some(self.record(last.item, true, None));
            }
        }
        self.examine(shown);
        if self.leaves(&draws) {
            self.has_left = true;
            return None;
        }
        let fitted = &self.shop.world().fitted;
        let wish = draws.0[Draws::WISH];
        if wish < fitted.again {
            return Some(self.record(last.item, false, shown_at(shown, last.item)));
        }
        if wish < fitted.again + fitted.back && self.seen.len() > 1 {
            let item = self.earlier_item(last.item, draws.0[Draws::BACK]);
            return Some(self.open(item, shown_at(shown, item), &draws));
        }
        if let Some(at) = self.click(shown, draws.0[Draws::CLICK]) {
            return Some(self.open(shown[at], Some(at as u16), &draws));
        }
        let item = self.new_item(&draws);
        Some(self.open(item, None, &draws))
    }

    /// Relevance of an item to the present interest, 0 to 1; the price above the budget lowers it.
    pub fn relevance(&self, item: u32) -> f64 {
        let fit = self.interest_in(item, &self.interest());
        self.relevance_of(item, fit)
    }

    /// Probability that the visitor buys an item directly after viewing it.
    pub fn purchase_chance(&self, item: u32) -> f64 {
        logistic(self.purchase_odds(item))
    }

    /// Whether an event of the session is of this item.
    pub fn has_seen(&self, item: u32) -> bool {
        self.seen.iter().any(|seen| seen.item == item)
    }

    /// Items of the category of the intent.
    pub fn intent_items(&self) -> std::ops::Range<u32> {
        category_items(self.category)
    }

    fn relevance_of(&self, item: u32, fit: f64) -> f64 {
        let price = self.shop.world().assumed.price * self.price_gap(item);
        logistic(SLOPE * (fit - MIDDLE) - price)
    }

    /// Log price above the log budget, at least 0.
    fn price_gap(&self, item: u32) -> f64 {
        (self.shop.get(item).log_price - self.budget).max(0.0)
    }

    /// The present interest: taste, mixed with the last item if it is of the intent's category.
    fn interest(&self) -> Vector {
        let follow = self.shop.world().assumed.follow;
        let last = match self.events.last() {
            Some(event) if category_of(event.item) == self.category => event.item,
            _ => return self.taste,
        };
        let scale = ((1.0 - follow).powi(2) + follow.powi(2)).sqrt();
        let mut interest = [0.0; DIM];
        let vectors = self.taste.iter().zip(&self.shop.get(last).vector);
        for (value, (taste, item)) in interest.iter_mut().zip(vectors) {
            *value = ((1.0 - follow) * taste + follow * item) / scale;
        }
        interest
    }

    fn interest_in(&self, item: u32, interest: &Vector) -> f64 {
        if category_of(item) == self.category {
            fit(interest, &self.shop.get(item).vector)
        } else {
            OUTSIDE
        }
    }

    /// Log-odds that the visitor buys an item at a look at it.
    fn purchase_odds(&self, item: u32) -> f64 {
        let (assumed, fitted) = (&self.shop.world().assumed, &self.shop.world().fitted);
        let mut odds = self.buy + self.shop.get(item).conversion;
        odds += assumed.fit * self.interest_in(item, &self.taste);
        odds -= assumed.price * self.price_gap(item);
        for seen in &self.seen {
            if seen.item == item && seen.views > 1 {
                odds += fitted.second_view;
            }
        }
        odds
    }

    fn may_buy(&self, item: u32) -> bool {
        !self
            .seen
            .iter()
            .any(|seen| seen.item == item && seen.is_bought)
    }

    /// Updates the irritation by a list: the attention-weighted mean irrelevance of its new items.
    fn examine(&mut self, shown: &[u32]) {
        let (mut sum, mut weight) = (0.0, 0.0);
        let interest = self.interest();
        for (at, &item) in shown.iter().enumerate() {
            if !self.has_seen(item) {
                let attention = self.attention(at);
                let fit = self.interest_in(item, &interest);
                sum += attention * (1.0 - self.relevance_of(item, fit));
                weight += attention;
            }
        }
        if weight > 0.0 {
            let now = sum / weight - NEUTRAL;
            self.irritation = Some(match self.irritation {
                Some(before) => 0.5 * (before + now),
                None => now,
            });
        }
    }

    /// Attention to a position, which counts from 0.
    fn attention(&self, at: usize) -> f64 {
        ((at + 1) as f64).powf(-self.shop.world().assumed.position)
    }

    fn leaves(&self, draws: &Draws) -> bool {
        if self.events.len() < 2 {
            return false;
        }
        let impatience = self.shop.world().assumed.impatience;
        let odds = self.leave + impatience * self.irritation.unwrap_or(0.0);
        self.events.len() >= MAX_EVENTS || draws.0[Draws::LEAVE] < logistic(odds)
    }

    /// Position of the clicked item if the visitor finds a new one in a list: the first that is
    /// examined and clicked, from the top.
    fn click(&self, shown: &[u32], draw: f64) -> Option<usize> {
        let click = self.shop.world().assumed.click;
        let (interest, mut clicked) = (self.interest(), 0.0);
        for (at, &item) in shown.iter().enumerate() {
            if !self.has_seen(item) {
                let fit = self.interest_in(item, &interest);
                let chance = self.attention(at) * click * self.relevance_of(item, fit);
                clicked += (1.0 - clicked) * chance;
                if draw < clicked {
                    return Some(at);
                }
            }
        }
        None
    }

    /// An item seen before, other than the last.
    fn earlier_item(&self, last: u32, draw: f64) -> u32 {
        let others = self.seen.len() - 1;
        let mut nth = ((draw * others as f64) as usize).min(others - 1);
        for seen in &self.seen {
            if seen.item != last {
                if nth == 0 {
                    return seen.item;
                }
                nth -= 1;
            }
        }
        last
    }

    /// A new item that the visitor finds without a list.
    fn new_item(&self, draws: &Draws) -> u32 {
        let category = if draws.0[Draws::INTENT] < INTENT {
            self.category
        } else {
            self.shop.category_at(draws.0[Draws::CATEGORY])
        };
        let (focus, interest) = (self.shop.world().fitted.focus, self.interest());
        let mut weights = Vec::with_capacity(category_items(category).len());
        let mut total = 0.0;
        for item in category_items(category) {
            if !self.has_seen(item) {
                let fit = self.interest_in(item, &interest);
                total += (self.shop.get(item).popularity + focus * fit).exp();
            }
            weights.push(total);
        }
        let wanted = draws.0[Draws::ITEM] * total;
        let at = weights.partition_point(|&weight| weight <= wanted);
        // All items of the category may have been seen: the last one is viewed again then.
        category_items(category).start + at.min(weights.len() - 1) as u32
    }

    /// Views an item, or buys it at once.
    fn open(&mut self, item: u32, shown_at: Option<u16>, draws: &Draws) -> ShopEvent {
        let mut buys = false;
        if self.may_buy(item) {
            let chance = logistic(self.purchase_odds(item));
            buys = draws.0[Draws::UNSEEN] < self.shop.world().fitted.unseen * chance;
        }
        self.record(item, buys, shown_at)
    }

    fn record(&mut self, item: u32, purchase: bool, shown_at: Option<u16>) -> ShopEvent {
        let at = self.seen.iter().position(|seen| seen.item == item);
        let at = at.unwrap_or_else(|| {
            self.seen.push(Seen {
                item,
                views: 0,
                is_bought: false,
            });
            self.seen.len() - 1
        });
        self.seen[at].views += u32::from(!purchase);
        self.seen[at].is_bought |= purchase;
        let event = ShopEvent {
            item,
            purchase,
            shown_at,
        };
        self.events.push(event);
        event
    }
}

fn shown_at(shown: &[u32], item: u32) -> Option<u16> {
    let at = shown.iter().position(|&other| other == item)?;
    u16::try_from(at).ok()
}

fn logistic(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}
