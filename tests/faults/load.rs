//! What goes on all the time: keys are issued, rotated and revoked on every replica, and every
//! replica is asked for keys that are active and for keys that have just ended. All of it is
//! written into the history.

use std::{collections::VecDeque, net::SocketAddr, rc::Rc, time::Duration};

use futures_util::future::{join, join_all};
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    http::{Connection, chat},
    oracle::{Answer, KeyId, Span},
    site::{MODEL, Site},
    support::http::sha256,
};

/// Connections to each replica, and the pause of each between two requests: somewhat more than a
/// hundred requests a second for a replica.
const LANES: usize = 4;
const PAUSE: Duration = Duration::from_millis(25);
/// Between two changes on one replica.
const CHANGE_PAUSE: Duration = Duration::from_millis(60);

/// A plaintext that somebody was given.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: KeyId,
    /// Of the item, for the operator.
    item: String,
    plaintext: String,
    pub(crate) hash: String,
}

/// All keys that were ever known.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    all: Vec<Rc<Known>>,
    /// They are never changed.
    steady: Vec<Rc<Known>>,
    /// Oldest first.
    active: VecDeque<Rc<Known>>,
    /// Those that somebody has ended, or is about to; newest last.
    ended: VecDeque<Rc<Known>>,
}

impl Pool {
    /// Keys that everybody has in memory all the time.
    pub(crate) const STEADY: usize = 4;
    /// Fewer are not changed: there must be some to ask for.
    const LEAST_ACTIVE: usize = 6;
    /// Older ones are asked for in the end only. They must be more than end within the lease.
    const RECENT: usize = 30;

    fn add(&mut self, key: Known) -> Rc<Known> {
        let key = Rc::new(key);
        self.all.push(Rc::clone(&key));
        key
    }

    pub(crate) fn keep(&mut self, key: Rc<Known>) {
        self.steady.push(key);
    }

    pub(crate) fn steady(&self) -> Vec<Rc<Known>> {
        self.steady.clone()
    }

    pub(crate) fn all(&self) -> Vec<Rc<Known>> {
        self.all.clone()
    }

    pub(crate) fn find(&self, id: KeyId) -> Rc<Known> {
        let found = self.all.iter().find(|key| key.id == id);
        Rc::clone(found.unwrap())
    }

    /// One that may be changed.
    fn victim(&mut self) -> Option<Rc<Known>> {
        match self.active.len() > Self::LEAST_ACTIVE {
            true => self.active.pop_front(),
            false => None,
        }
    }

    fn end(&mut self, key: &Rc<Known>) {
        self.ended.push_back(Rc::clone(key));
        if self.ended.len() > Self::RECENT {
            self.ended.pop_front();
        }
    }

    /// Each in turn: those that have ended as often as the others.
    fn turn(&self, number: usize) -> Option<Rc<Known>> {
        let (turn, active) = (number / 2, number.is_multiple_of(2));
        let from: Vec<_> = match active {
            true => self.steady.iter().chain(&self.active).collect(),
            false => self.ended.iter().collect(),
        };
        let count = from.len().max(1);
        from.get(turn % count).map(|key| Rc::clone(key))
    }
}

impl Site {
    /// Goes on until the scenario is over.
    pub(crate) async fn load(&self) {
        let lanes = self
            .all()
            .into_iter()
            .flat_map(|replica| (0..LANES).map(move |lane| self.ask_around(replica, lane)));
        let changes = self
            .all()
            .into_iter()
            .map(|replica| self.change_keys(replica));
        join(join_all(lanes), join_all(changes)).await;
    }

    async fn ask_around(&self, replica: usize, lane: usize) {
        let mut open: Option<(SocketAddr, Connection)> = None;
        // Each lane begins somewhere else.
        let mut number = lane * 3;
        while !self.is_over.get() {
            number += 1;
            let key = self.pool.borrow().turn(number);
            if let (Some(key), Some(address)) = (key, self.replicas[replica].address()) {
                let kept = open.take().filter(|(found, _)| *found == address);
                let (_, mut connection) = kept.unwrap_or((address, Connection::to(address)));
                self.ask_over(&mut connection, replica, &key).await;
                open = Some((address, connection));
            }
            sleep(PAUSE).await;
        }
    }

    /// The status of one request; `None` where nobody answers.
    pub(crate) async fn ask(&self, replica: usize, key: &Known) -> Option<u16> {
        let mut connection = Connection::to(self.replicas[replica].address()?);
        self.ask_over(&mut connection, replica, key).await
    }

    async fn ask_over(
        &self,
        connection: &mut Connection,
        replica: usize,
        key: &Known,
    ) -> Option<u16> {
        let began = self.now();
        let answer = connection.send(&chat(&key.plaintext, MODEL)).await;
        let status = answer.ok().map(|answer| answer.status);
        let span = self.since(began);
        let mut history = self.history.borrow_mut();
        history.answered(replica, key.id, span, Answer::of(status));
        status
    }

    /// Asks one replica for all keys that ended not long ago, at once.
    pub(crate) async fn ask_for_ended(&self, replica: usize) {
        let ended: Vec<_> = self.pool.borrow().ended.iter().cloned().collect();
        join_all(ended.iter().map(|key| self.ask(replica, key))).await;
    }

    /// Issues a key, gives it another name, and ends an older one, in turn by rotating and by revoking
    /// it.
    async fn change_keys(&self, replica: usize) {
        for number in 0.. {
            if self.is_over.get() {
                return;
            }
            if self.replicas[replica].address().is_some() {
                let _changing = self.changing.read().await;
                if let Some(issued) = self.issue(replica).await {
                    self.rename(replica, &issued).await;
                    self.pool.borrow_mut().active.push_back(issued);
                }
                let victim = self.pool.borrow_mut().victim();
                match victim {
                    Some(key) if number % 2 == 0 => drop(self.rotate(replica, &key).await),
                    Some(key) => drop(self.revoke(replica, &key).await),
                    None => {}
                }
            }
            sleep(CHANGE_PAUSE).await;
        }
    }

    pub(crate) async fn issue(&self, replica: usize) -> Option<Rc<Known>> {
        let began = self.now();
        let answer = self.replicas[replica].admin("POST", "/admin/keys", r#"{"name":"k"}"#);
        let answer = answer.await.filter(|answer| answer.status == 201);
        let span = self.since(began);
        let Some(answer) = answer else {
            self.history.borrow_mut().not_issued(replica, span);
            return None;
        };
        let id = self.history.borrow_mut().issued(replica, span);
        Some(self.learn(id, &answer.body))
    }

    /// As it happens between a key's issue and its first use elsewhere.
    async fn rename(&self, replica: usize, key: &Rc<Known>) {
        let (began, path) = (self.now(), format!("/admin/keys/{}", key.item));
        let renaming = self.replicas[replica].admin("PUT", &path, r#"{"name":"renamed"}"#);
        let succeeded = renaming.await.is_some_and(|answer| answer.status == 200);
        let span = self.since(began);
        let mut history = self.history.borrow_mut();
        history.renamed(replica, span, succeeded);
    }

    fn learn(&self, id: KeyId, body: &[u8]) -> Rc<Known> {
        let body: Value = serde_json::from_slice(body).unwrap();
        let text = |field: &str| body[field].as_str().unwrap().to_owned();
        let plaintext = text("key");
        self.pool.borrow_mut().add(Known {
            id,
            item: text("id"),
            hash: sha256(plaintext.as_bytes()),
            plaintext,
        })
    }

    /// Whether it succeeded.
    pub(crate) async fn revoke(&self, replica: usize, key: &Rc<Known>) -> bool {
        let path = format!("/admin/keys/{}", key.item);
        let revoked = self.end_by(replica, key, "DELETE", &path).await;
        self.ask(replica, key).await;
        revoked.is_some()
    }

    /// Whether it succeeded.
    pub(crate) async fn rotate(&self, replica: usize, key: &Rc<Known>) -> bool {
        let path = format!("/admin/keys/{}/rotate", key.item);
        let rotated = self.end_by(replica, key, "POST", &path).await;
        if let Some((span, body)) = &rotated {
            let id = self.history.borrow_mut().issued(replica, *span);
            let next = self.learn(id, body);
            self.pool.borrow_mut().active.push_back(next);
        }
        self.ask(replica, key).await;
        rotated.is_some()
    }

    /// Answers when the call was made and what came back, if it succeeded.
    async fn end_by(
        &self,
        replica: usize,
        key: &Rc<Known>,
        method: &str,
        path: &str,
    ) -> Option<(Span, Vec<u8>)> {
        let began = self.now();
        self.history.borrow_mut().ending(key.id, replica, began);
        self.pool.borrow_mut().end(key);
        let answer = self.replicas[replica].admin(method, path, "").await;
        let answer = answer.filter(|answer| matches!(answer.status, 200 | 204));
        let span = self.since(began);
        let mut history = self.history.borrow_mut();
        history.ended(key.id, span.ended, answer.is_some());
        answer.map(|answer| (span, answer.body))
    }
}
