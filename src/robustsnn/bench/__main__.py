"""What `robustsnn.bench.worker` starts."""

import json
import sys

from robustsnn.bench.forms import Case
from robustsnn.bench.worker import work

if __name__ == "__main__":
    case, what, form = json.loads(sys.argv[1])
    work(Case(**case), what, form)
