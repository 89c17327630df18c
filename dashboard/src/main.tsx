import { render } from "preact";
import { LocationProvider, Route, Router } from "preact-iso";

import { Frame } from "./components/Frame";
import { ComparePage } from "./pages/Compare";
import { DatasetsPage } from "./pages/Datasets";
import { JobPage } from "./pages/Job";
import { JobsPage } from "./pages/Jobs";
import { ModelsPage } from "./pages/Models";
import { NewJobPage } from "./pages/NewJob";
import { SystemPage } from "./pages/System";
import "./style.css";
import { language } from "./text";

// The server gives the same document for each of these paths (api/dashboard.py).
function Page() {
  return (
    <LocationProvider>
      <Frame>
        <Router>
          <Route path="/" component={JobsPage} />
          <Route path="/jobs/:id" component={JobPage} />
          <Route path="/new" component={NewJobPage} />
          <Route path="/compare" component={ComparePage} />
          <Route path="/datasets" component={DatasetsPage} />
          <Route path="/models" component={ModelsPage} />
          <Route path="/system" component={SystemPage} />
          <Route default component={JobsPage} />
        </Router>
      </Frame>
    </LocationProvider>
  );
}

document.documentElement.lang = language.value;
const place = document.getElementById("page");
if (place === null) throw new Error("index.html has no element #page");
render(<Page />, place);
