"""The vector API's calls, by the resource they are about: each takes a Request and gives a Response."""
