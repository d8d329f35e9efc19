use super::*;

/// Kind and name of all objects, in the order of kinds.
fn names(objects: &Objects) -> Vec<String> {
    let mut names = Vec::new();
    let mut add = |kind: &str, found: Vec<&ObjectName>| {
        names.extend(found.iter().map(|name| format!("{kind} {name}")));
    };
    add("Service", objects.services.keys().collect());
    add("EndpointSlice", objects.slices.keys().collect());
    add("Endpoints", objects.endpoints.keys().collect());
    add("Node", objects.nodes.keys().collect());
    add("Pod", objects.pods.keys().collect());
    add("ServiceCIDR", objects.service_cidrs.keys().collect());
    names.extend(objects.ignored.iter().map(|(kind, count)| format!("{count} {kind}")));
    names
}

#[test]
fn forms_of_input() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("nothing", "", &[]),
        ("white space", "\n \n", &[]),
        ("empty documents", "---\n---\n# a comment\n---\n", &[]),
        ("one object", r#"{"kind":"Node","metadata":{"name":"a"}}"#, &["Node a"]),
        ("one object in YAML", "kind: Node\nmetadata:\n  name: a\n", &["Node a"]),
        ("YAML that begins with a brace", "{kind: Node, metadata: {name: a}}", &["Node a"]),
        ("what YAML 1.1 takes for a boolean", "{kind: Node, metadata: {name: y}}", &["Node y"]),
        (
            "a byte order mark",
            "\u{feff}{\"kind\":\"Node\",\"metadata\":{\"name\":\"a\"}}",
            &["Node a"],
        ),
        (
            "a list, its kind at the end",
            r#"{"apiVersion":"v1","items":[{"kind":"Node","metadata":{"name":"a"}},
                {"kind":"Pod","metadata":{"name":"p","namespace":"n"}}],"kind":"List"}"#,
            &["Node a", "Pod n/p"],
        ),
        (
            "a list in YAML",
            "apiVersion: v1\nitems:\n- kind: Pod\n  metadata: {name: p}\nkind: List\n",
            &["Pod default/p"],
        ),
        (
            "what the API answers",
            r#"{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1",
                "items":[{"metadata":{"name":"web-1","namespace":"n"}}]}"#,
            &["EndpointSlice n/web-1"],
        ),
        (
            "what the API answers, keys sorted",
            r#"{"items":[{"metadata":{"name":"web"}}],"kind":"ServiceList"}"#,
            &["Service default/web"],
        ),
        (
            "ranges of services",
            r#"{"kind":"ServiceCIDRList","apiVersion":"networking.k8s.io/v1",
                "items":[{"metadata":{"name":"kubernetes"}}]}"#,
            &["ServiceCIDR kubernetes"],
        ),
        ("an empty list", r#"{"kind":"PodList","items":null}"#, &[]),
        ("a list without items", "kind: List\n", &[]),
        (
            "holes in a list",
            "kind: List\nitems: [null, {kind: Node, metadata: {name: a}}]",
            &["Node a"],
        ),
        (
            "several documents",
            "kind: Node\nmetadata: {name: a}\n---\n\n---\nkind: List\nitems:\n\
             - kind: Endpoints\n  metadata: {name: web}\n...\n---\nkind: Node\nmetadata: {name: b}\n",
            &["Endpoints default/web", "Node a", "Node b"],
        ),
        (
            "several documents of JSON",
            "{\"kind\":\"Node\",\"metadata\":{\"name\":\"a\"}}\n---\n\
             {\"kind\":\"Node\",\"metadata\":{\"name\":\"b\"}}{\"kind\":\"List\",\"items\":[]}",
            &["Node a", "Node b"],
        ),
        ("an array", r#" [ {"kind":"Node","metadata":{"name":"a"}} ]"#, &["Node a"]),
        (
            "other kinds, some of the same name",
            "kind: List\nitems:\n\
             - {kind: Secret, metadata: {name: a}}\n\
             - {kind: Secret, metadata: {name: b}}\n\
             - {kind: Service, apiVersion: serving.knative.dev/v1, metadata: {name: k}, spec: {ports: 1}}\n\
             - {kind: ServiceCIDR, apiVersion: other.io/v1, metadata: {name: c}}\n\
             - {kind: Service, apiVersion: v1, metadata: {name: s}}\n",
            &["Service default/s", "2 Secret", "1 Service", "1 ServiceCIDR"],
        ),
        ("items that are no list", "kind: Thing\nitems: {a: 1}\n", &[]),
    ];
    for (case, text, expected) in cases {
        match read("f", text.as_bytes()) {
            Ok(objects) => assert_eq!(names(&objects), *expected, "{case}"),
            Err(error) => panic!("{case}: {error}"),
        }
    }
}

#[test]
fn json_and_yaml_mean_the_same() {
    let json = r#"{"apiVersion":"v1","kind":"Service",
        "metadata":{"name":"web","namespace":"shop","labels":null,"annotations":{"a":"1"},
                    "managedFields":[{"f:spec":{}}]},
        "spec":{"clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10","fd00::a"],"type":"NodePort",
                "ports":[{"name":"http","port":80,"protocol":"TCP","targetPort":"web","nodePort":30080},
                         {"name":"dns","port":53,"protocol":"UDP","targetPort":5353}]},
        "status":{"loadBalancer":{}}}"#;
    let yaml = "
apiVersion: v1
kind: Service
metadata:
  annotations:
    a: \"1\"
  labels: ~
  managedFields:
  - f:spec: {}
  name: web
  namespace: shop
spec:
  clusterIP: 10.96.0.10
  clusterIPs:
  - 10.96.0.10
  - fd00::a
  ports:
  - name: http
    nodePort: 30080
    port: 80
    protocol: TCP
    targetPort: web
  - name: dns
    port: 53
    protocol: UDP
    targetPort: 5353
  type: NodePort
status:
  loadBalancer: {}
";
    let objects = read("f", json.as_bytes()).unwrap();
    assert_eq!(objects, read("f", yaml.as_bytes()).unwrap());
    let service = &objects.services[&ObjectName::new("shop", "web")].value;
    assert_eq!(service.spec.cluster_ips, ["10.96.0.10", "fd00::a"]);
    assert_eq!(
        service.spec.ports[0].target_port,
        Some(crate::objects::NumberOrName::Name("web".to_owned()))
    );
    assert_eq!(service.spec.ports[1].port, Some(53));
}

#[test]
fn of_an_object_given_twice_the_later_one_counts() {
    let pod = |node: &str| {
        format!("kind: Pod\nmetadata: {{name: p}}\nspec: {{nodeName: {node}}}\n---\nkind: Secret\n")
    };
    let node_of = |objects: &Objects| {
        let pod = &objects.pods[&ObjectName::new("default", "p")];
        (pod.file.to_string(), pod.value.spec.node_name.clone().unwrap())
    };
    let both = format!("{}---\n{}", pod("a"), pod("b"));
    assert_eq!(node_of(&read("one", both.as_bytes()).unwrap()), ("one".into(), "b".into()));
    let mut objects = read("one", pod("a").as_bytes()).unwrap();
    objects.merge(read("two", pod("c").as_bytes()).unwrap());
    assert_eq!(node_of(&objects), ("two".into(), "c".into()));
    assert_eq!(objects.ignored["Secret"], 2);
}

#[test]
fn errors_name_the_file_and_the_place() {
    let cases: &[(&[u8], &str)] = &[
        (b"\xd4\xc3\xb2\xa1\x02\0\x04\0", "f: this is not text; give the output of `kubectl get"),
        (b"\xff\xfe{\0", "f: this is UTF-16 (as PowerShell redirects output)"),
        (b"a\0b", "f: this is not text"),
        (b"{\"kind\":\n", "f: not valid JSON: EOF while parsing a value at line 2"),
        (
            b"{\"kind\":\"List\"}\n\n{\"kind\":,}",
            "f: not valid JSON after line 2: expected value at line 1",
        ),
        (b"{\"kind\":\"List\",\"items\":[1]}", "f: not valid JSON: invalid type: integer `1`"),
        (b"kind: [\n", "f: not valid YAML: "),
        (b"just some words", "f: not valid YAML: "),
        (b"metadata: {name: a}", "f: \"a\" has no kind; give objects as"),
        (b"kind: List\nitems: [{metadata: {name: a}}]", "f: \"a\" has no kind"),
        (b"kind: Pod\nmetadata: {}", "f: an object of kind Pod has no metadata.name"),
        (
            b"kind: Service\nmetadata: {name: a, namespace: n}\nspec: {ports: [{port: http}]}",
            "f: Service n/a: invalid type: string \"http\", expected i64",
        ),
    ];
    for (bytes, expected) in cases {
        let shown = String::from_utf8_lossy(bytes);
        match read("f", bytes) {
            Ok(objects) => panic!("{shown}: {:?}", names(&objects)),
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with(expected), "{shown}: {error}");
                assert!(!error.contains('\n'), "{error}");
            }
        }
    }
}

#[test]
fn a_dump_beyond_the_default_budget_of_nodes() {
    let text = format!("kind: Other\nnumbers: [{}]\n", "1,".repeat(300_000));
    assert_eq!(names(&read("f", text.as_bytes()).unwrap()), ["1 Other"]);
}

#[test]
fn a_list_that_is_cut_behind_an_item_is_unfinished() {
    let whole = "apiVersion: v1\nitems:\n- kind: Pod\n  metadata: {name: p}\nkind: List\n";
    assert!(read("f", whole.as_bytes()).unwrap().unfinished.is_empty());
    let cut = whole.strip_suffix("kind: List\n").unwrap();
    let mut all = Objects::default();
    all.merge(read("f", cut.as_bytes()).unwrap());
    assert_eq!(all.unfinished.iter().map(|file| &**file).collect::<Vec<_>>(), ["f"]);
}

#[test]
fn no_string_of_an_object_gives_orders_to_a_terminal() {
    let json = r#"{"kind":"Pod","metadata":{"name":"p\u001b[2J\n","namespace":"n\u009b","labels":{"a":"\r"}}}"#;
    let objects = read("f", json.as_bytes()).unwrap();
    let (name, pod) = objects.pods.first_key_value().unwrap();
    assert_eq!(name.to_string(), r"n\u{9b}/p\u{1b}[2J\u{a}");
    assert_eq!(pod.value.metadata.labels["a"], r"\u{d}");
    let yaml = "kind: List\nitems:\n- {kind: Node, metadata: {name: \"a\\eb\"}}\n";
    let objects = read("f", yaml.as_bytes()).unwrap();
    assert_eq!(objects.nodes.first_key_value().unwrap().0.name, r"a\u{1b}b");
}
