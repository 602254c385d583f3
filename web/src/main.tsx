/**
 * The page that a node serves to its owner.
 *
 * `api` asks, `stream` tells when to ask again, `load` keeps what was answered for a view; `views`
 * has one module a tab, `charts` what is drawn, `ui` the parts that all are made of, `i18n` every
 * text in every language, `units`, `meaning` and `time` how quantities, signs and instants read.
 *
 * The page keeps nothing but the token of this browser tab and the viewer's choices: whatever it
 * shows, the node has said, and after a break it is asked again.
 */

import { render } from "preact";
import { takeToken } from "./api";
import { App } from "./app";
import { followAddress } from "./route";
import "./style.css";

takeToken();
followAddress();
render(<App />, document.getElementById("page")!);
