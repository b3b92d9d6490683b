//! Each recipe: what is a hit, what a write ends, and that nothing of one user reaches another.

use bytes::Bytes;
use http::{Method, StatusCode, header::HeaderName};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;

use super::{Answer, Example};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn recipe(name: &str) -> Example {
    Example::start("recipes", &[name])
}

/// A visitor: anonymous, or logged in.
struct Visitor<'e> {
    example: &'e Example,
    cookie: Option<String>,
}

impl<'e> Visitor<'e> {
    fn anonymous(example: &'e Example) -> Self {
        Self { example, cookie: None }
    }

    async fn logged_in(example: &'e Example, form: &'static str) -> Self {
        let answer = example.ask(Method::POST, "/login", &[FORM], form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        let cookie = answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        Self { example, cookie: Some(cookie) }
    }

    async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let cookie = self.cookie.iter().map(|cookie| ("cookie", cookie.as_str()));
        let headers: Vec<_> = headers.iter().copied().chain(cookie).collect();
        self.example.ask(Method::GET, path, &headers, "").await
    }

    async fn post(&self, path: &str, body: String) -> StatusCode {
        let cookie = self.cookie.iter().map(|cookie| ("cookie", cookie.as_str()));
        let headers: Vec<_> = [FORM].into_iter().chain(cookie).collect();
        // `ask` takes what lives as long as the test.
        self.example.ask(Method::POST, path, &headers, body.leak()).await.status
    }
}

impl Answer {
    fn is_hit(&self) -> bool {
        self.cache_status().contains("hit")
    }

    fn is_stored(&self) -> bool {
        self.cache_status().contains("stored")
    }

    fn field(&self, name: &'static str) -> Option<&str> {
        Some(self.headers.get(HeaderName::from_static(name))?.to_str().unwrap())
    }
}

/// What follows a text, to the next quotation mark.
fn after<'p>(page: &'p str, text: &str) -> &'p str {
    page.split_once(text).unwrap_or_else(|| panic!("{text} is not in {page}")).1.split('"').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn site_with_sessions_shares_its_pages_and_keeps_names_and_tokens_apart() {
    let example = recipe("site_with_sessions");
    let stranger = Visitor::anonymous(&example);
    let (ann, bob) = (Visitor::logged_in(&example, "name=ann").await, Visitor::logged_in(&example, "name=%3Cb%3Ebob").await);

    let first = ann.get("/posts/1").await;
    assert!(first.is_stored(), "{first:?}");
    let me: Value = serde_json::from_str(&ann.get("/me").await.body).unwrap();
    let token = me["token"].as_str().unwrap();
    for visitor in [&ann, &bob, &stranger] {
        let page = visitor.get("/posts/1").await;
        assert!(page.is_hit() && page.field("set-cookie").is_none(), "{page:?}");
        assert!(page.body == first.body && !page.body.contains("ann") && !page.body.contains(token), "{page:?}");
    }
    assert_eq!((me["name"].as_str(), token.len()), (Some("ann"), 32));
    let others = [bob.get("/me").await, stranger.get("/me").await];
    for other in &others {
        assert!(!other.body.contains("ann") && !other.body.contains(token), "{other:?}");
        assert_eq!((other.field("cache-control"), other.field("cache-status")), (Some("no-store"), None));
    }

    let comment = format!("text=%3Ci%3Ehello&token={token}");
    for (visitor, form) in [(&stranger, &comment), (&bob, &comment), (&ann, &"text=hello&token=".to_owned())] {
        assert_eq!(visitor.post("/posts/1/comments", form.clone()).await, StatusCode::FORBIDDEN);
    }
    assert!(stranger.get("/posts/1").await.is_hit());
    assert_eq!(ann.post("/posts/1/comments", comment).await, StatusCode::SEE_OTHER);
    let changed = stranger.get("/posts/1").await;
    assert!(!changed.is_hit() && changed.body.contains("<li>ann: &lt;i&gt;hello"), "{changed:?}");
    assert!(bob.get("/posts/1").await.is_hit());

    assert_eq!(ann.post("/logout", String::new()).await, StatusCode::SEE_OTHER);
    assert!(!ann.get("/me").await.body.contains("ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn filled_shell_is_stored_once_and_filled_for_each_reader() {
    let example = recipe("filled_shell");
    let (ann, bob) = (Visitor::logged_in(&example, "name=ann").await, Visitor::logged_in(&example, "name=%3Cbob").await);
    let stranger = Visitor::anonymous(&example);
    let token_in = |page: &Answer| after(&page.body, "type=hidden value=\"").to_owned();

    let first = ann.get("/posts/1").await;
    assert!(first.is_stored() && first.body.contains("as <b>ann</b>"), "{first:?}");
    let second = bob.get("/posts/1").await;
    assert!(second.is_hit() && second.body.contains("as <b>&lt;bob</b>") && !second.body.contains("ann"), "{second:?}");
    let (anns, bobs) = (token_in(&first), token_in(&second));
    assert!(anns.len() == 32 && bobs.len() == 32 && anns != bobs, "{anns} {bobs}");
    let third = stranger.get("/posts/1").await;
    assert!(third.is_hit() && third.body.contains("as <b>nobody</b>") && token_in(&third).is_empty(), "{third:?}");
    assert_eq!(ann.get("/posts/1").await.body, first.body);

    let conditional = [("range", "bytes=0-9"), ("if-none-match", "*"), ("accept-encoding", "gzip")];
    for field in conditional {
        let page = bob.get_with("/posts/1", &[field]).await;
        assert_eq!((page.status, &page.body), (StatusCode::OK, &second.body), "{field:?}");
        let fields = ["cache-control", "etag", "content-encoding"].map(|name| page.field(name));
        assert_eq!(fields, [Some("private, no-store"), None, None]);
    }
    assert_eq!(bob.post("/like", format!("token={anns}")).await, StatusCode::FORBIDDEN);
    assert_eq!(bob.post("/like", format!("token={bobs}")).await, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_store_each_page_once_and_a_new_product_ends_all() {
    let example = recipe("lists");
    let same = [
        ["/products?page=2&order=newest", "/products?order=newest&page=2", "/products?utm_source=x&page=2&order=newest"],
        ["/search?page=2&q=product", "/search?q=product&page=2", "/search?q=product&utm_source=x&page=2"],
    ];
    for [first, others @ ..] in same {
        let page = example.get(first).await;
        assert!(page.is_stored() && page.body.contains("product 2"), "{page:?}");
        for other in others {
            let answer = example.get(other).await;
            assert!(answer.is_hit() && answer.body == page.body, "{answer:?}");
        }
    }
    for spelling in ["/search?q=Product++3", "/search?q=product%203", "/search?q=product+3&page=1"] {
        let answer = example.get(spelling).await;
        assert_eq!((answer.status, answer.field("location")), (StatusCode::PERMANENT_REDIRECT, Some("/search?q=product+3")));
    }
    assert!(example.get("/search?q=product+3").await.body.starts_with("product 3\nproduct 30"));
    let refused =
        ["/products?page=9", "/products?page=99999999999999999999", "/products?order=x", "/search?q=", "/search?q=x&page=2"];
    for path in refused {
        let answers = [example.get(path).await, example.get(path).await];
        assert!(
            answers.iter().all(|answer| answer.status.is_client_error() && !answer.is_stored() && !answer.is_hit()),
            "{path}"
        );
    }

    assert_eq!(example.ask(Method::POST, "/products", &[], "Product 300").await.status, StatusCode::CREATED);
    for [first, second, _] in same {
        assert!(!example.get(first).await.is_hit(), "{first}");
        assert!(example.get(second).await.is_hit(), "{second}");
    }
    assert!(example.get("/search?q=product+300").await.body.ends_with("product 300"));
}

#[tokio::test(flavor = "multi_thread")]
async fn languages_need_one_entry_each_however_browsers_ask() {
    let example = recipe("languages");
    let ask = async |fields: &[(&str, &str)]| example.ask(Method::GET, "/", fields, "").await;
    let german = ask(&[("accept-language", "de-AT,de;q=0.9,en;q=0.5")]).await;
    assert!(german.is_stored() && german.body == "Hallo", "{german:?}");
    assert_eq!(german.field("content-language"), Some("de"));
    let same: [&[_]; 3] = [
        &[("accept-language", "de")],
        &[("accept-language", "ja, de;q=0.1")],
        &[("accept-language", "fr"), ("cookie", "_ga=1; language=de")],
    ];
    for fields in same {
        let hit = ask(fields).await;
        assert!(hit.is_hit() && hit.body == "Hallo", "{hit:?}");
        let vary: Vec<_> = hit.headers.get_all("vary").iter().map(|line| line.to_str().unwrap().to_lowercase()).collect();
        assert_eq!(vary, ["accept-language", "cookie"]);
    }
    for fields in [&[("accept-language", "ja")][..], &[("cookie", "language=<script>")], &[]] {
        assert_eq!(ask(fields).await.body, "Hello");
    }
    assert!(ask(&[]).await.is_hit());

    assert_eq!(example.ask(Method::PUT, "/texts/de", &[], "Servus").await.status, StatusCode::NO_CONTENT);
    assert_eq!(ask(&[("accept-language", "de")]).await.body, "Servus");
    assert!(ask(&[]).await.is_hit(), "a German text does not end the English page");
}

#[tokio::test(flavor = "multi_thread")]
async fn per_user_pages_are_stored_for_each_user_alone() {
    let example = recipe("per_user_pages");
    let (ann, bob) = (Visitor::logged_in(&example, "name=ann").await, Visitor::logged_in(&example, "name=bob").await);
    for (visitor, name) in [(&ann, "ann"), (&bob, "bob")] {
        let first = visitor.get("/orders").await;
        assert!(first.is_stored() && first.body == format!("orders of {name}: "), "{first:?}");
        let hit = visitor.get("/orders").await;
        assert!(hit.is_hit() && hit.body == first.body, "{hit:?}");
        assert_eq!((hit.field("cache-control"), hit.field("larder-cache-control")), (Some("private, no-cache"), None));
    }
    // Another session of the same user has the same page.
    assert!(Visitor::logged_in(&example, "name=ann").await.get("/orders").await.is_hit());
    for stranger in [Visitor::anonymous(&example), Visitor { example: &example, cookie: Some("id=guessed".to_owned()) }] {
        let refused = stranger.get("/orders").await;
        assert!(refused.status == StatusCode::UNAUTHORIZED && refused.body.is_empty(), "{refused:?}");
    }

    assert_eq!(ann.post("/orders", "tea".to_owned()).await, StatusCode::CREATED);
    let changed = ann.get("/orders").await;
    assert!(!changed.is_hit() && changed.body == "orders of ann: tea", "{changed:?}");
    let other = bob.get("/orders").await;
    assert!(other.is_hit() && other.body == "orders of bob: ", "an order of one user ends that user's page alone: {other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_kept_for_a_week_and_by_browsers_for_a_minute() {
    let example = recipe("images");
    let upload = async |image| example.ask(Method::PUT, "/avatars/ann", &[], image).await.status;
    assert_eq!(upload("first").await, StatusCode::NO_CONTENT);
    let paths = ["/avatars/ann", "/thumbnails/ann?width=100", "/thumbnails/ann?width=200"];
    for path in paths {
        assert!(example.get(path).await.is_stored(), "{path}");
        let hit = example.ask(Method::GET, path, &[("cookie", "sid=1")], "").await;
        assert!(hit.is_hit() && hit.body == "first", "{hit:?}");
        let ttl: u32 = hit.cache_status().split("ttl=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
        assert!((604_700..=604_800).contains(&ttl), "{hit:?}");
        assert_eq!((hit.field("cache-control"), hit.field("larder-cache-control")), (Some("max-age=60"), None));
        let unchanged = example.ask(Method::GET, path, &[("if-none-match", hit.field("etag").unwrap())], "").await;
        assert_eq!((unchanged.status, unchanged.is_hit()), (StatusCode::NOT_MODIFIED, true));
    }
    assert!(example.get("/avatars/ann?v=7").await.is_hit());
    let refused = example.get("/thumbnails/ann?width=101").await;
    assert!(refused.status == StatusCode::BAD_REQUEST && !refused.is_stored(), "{refused:?}");
    assert_eq!(example.get("/assets/8f2c.css").await.field("cache-control"), Some("max-age=31536000, immutable"));

    assert_eq!(upload("second").await, StatusCode::NO_CONTENT);
    for path in paths {
        let replaced = example.get(path).await;
        assert!(!replaced.is_hit() && replaced.body == "second", "{replaced:?}");
    }
    assert!(example.get("/assets/8f2c.css").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn live_updates_announce_what_the_next_request_sees() {
    let example = recipe("live_updates");
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let mut events = client.get(format!("http://{}/prices/events", example.address).parse().unwrap()).await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    for price in ["10", "11"] {
        example.get("/prices").await;
        assert!(example.get("/prices").await.is_hit());
        assert_eq!(example.ask(Method::PUT, "/prices/tea", &[], price).await.status, StatusCode::NO_CONTENT);
        let event = events.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(event, "event: changed\ndata: tea\n\n");
        let prices = example.get("/prices").await;
        assert!(!prices.is_hit() && prices.body == format!(r#"{{"tea":{price}}}"#), "{prices:?}");
    }
}

#[cfg(feature = "redis")]
mod on_redis {
    use std::{fs, process::Command};

    use super::super::{Example, built};
    use crate::servers::{process::Folder, redis::Redis};

    struct Web {
        example: Example,
        server: Redis,
        folder: Folder,
    }

    impl Web {
        fn start(recipe: &str) -> Self {
            let (server, folder) = (Redis::start(), Folder::new());
            let catalog = folder.0.join("catalog.db").display().to_string();
            let variables = [("CACHE_URL", &*patient(&server)), ("CATALOG", &*catalog)];
            let example = Example::start_with("recipes", &[recipe], &variables);
            Self { example, server, folder }
        }

        /// Runs a recipe that ends by itself; returns what it prints, or `None` if it fails.
        fn run(&self, url: &str, arguments: &[&str]) -> Option<String> {
            let catalog = self.folder.0.join("catalog.db");
            let output = Command::new(built("recipes")).args(arguments).env("CACHE_URL", url).env("CATALOG", catalog).output();
            let output = output.unwrap();
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
        }

        /// Imports these lines.
        fn import(&self, url: &str, lines: &str) -> Option<String> {
            let file = self.folder.0.join("products.txt");
            fs::write(&file, lines).unwrap();
            self.run(url, &["import", file.to_str().unwrap()])
        }

        async fn page(&self, path: &str) -> (String, bool) {
            let answer = self.example.get(path).await;
            (answer.body.clone(), answer.is_hit())
        }
    }

    /// The limits are for a busy machine.
    fn patient(server: &Redis) -> String {
        format!("{}?read_timeout=5s&store_timeout=5s&invalidate_timeout=5s", server.url())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn import_job_invalidates_what_it_has_imported() {
        let web = Web::start("import_job");
        let url = patient(&web.server);
        assert_eq!(web.import(&url, "1 tea 10\n2 tea 20\n3 salt 30\n").unwrap(), "3 lines, 5 tags\n");
        let pages = ["/products/1", "/products/2", "/products/3", "/categories/tea", "/categories/salt"];
        for page in pages {
            web.page(page).await;
            assert!(web.page(page).await.1, "{page}");
        }
        // A price changes, and a product moves: of the products in both categories, all pages are new.
        web.import(&url, "2 salt 21\n").unwrap();
        let mut expected = [("21", false), ("1 products", false), ("2 products", false)].into_iter();
        for page in [pages[1], pages[3], pages[4]] {
            let (body, is_hit) = expected.next().unwrap();
            assert_eq!(web.page(page).await, (body.to_owned(), is_hit), "{page}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn import_job_settles_what_a_failed_job_owes() {
        let web = Web::start("import_job");
        let url = patient(&web.server);
        web.import(&url, "1 tea 10\n").unwrap();
        web.page("/products/1").await;
        assert!(web.page("/products/1").await.1);
        // Nothing listens there: imported, and not invalidated.
        assert_eq!(web.import("redis://127.0.0.1:1", "1 tea 11\n"), None);
        assert_eq!(web.page("/products/1").await, ("10".to_owned(), true));
        // The next job has nothing to do with that product.
        assert_eq!(web.import(&url, "7 tea 70\n").unwrap(), "1 lines, 4 tags\n");
        assert_eq!(web.page("/products/1").await, ("11".to_owned(), false));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn import_job_takes_one_tag_for_many_products() {
        let web = Web::start("import_job");
        let url = patient(&web.server);
        let lines: String = (1..=5_000).map(|id| format!("{id} tea 10\n")).collect();
        web.import(&url, &lines).unwrap();
        web.page("/products/1").await;
        assert_eq!(web.import(&url, &lines.replace("tea 10", "tea 11")).unwrap(), "5000 lines, 5001 tags\n");
        assert_eq!(web.page("/products/1").await, ("11".to_owned(), false));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn other_programs_invalidate_by_a_function_and_by_a_small_program() {
        let web = Web::start("other_programs");
        let call = || _ = web.server.run::<i64>("FCALL larder_invalidate 0 larder rates");
        let program = || assert_eq!(web.run(&patient(&web.server), &["invalidate", "rates"]).unwrap(), "invalidated for Nodes\n");
        for invalidate in [&call as &dyn Fn(), &program] {
            web.page("/rates").await;
            assert!(web.page("/rates").await.1);
            invalidate();
            assert!(!web.page("/rates").await.1);
        }
    }
}
