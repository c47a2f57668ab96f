"""The whole page in a real browser, for whichever test asks for it."""

from tests.fixtures.bases import gguf as gguf
from tests.fixtures.bases import index as index
from tests.fixtures.bases import tiny as tiny
from tests.fixtures.browser import open_page as open_page
from tests.fixtures.browser import page as page
from tests.fixtures.browser import patient_launch as patient_launch
from tests.fixtures.browser import services as services
from tests.fixtures.browser import studio_url as studio_url
